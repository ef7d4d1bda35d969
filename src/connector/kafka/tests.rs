//! The Kafka source against a real broker (`scripts/services up kafka`), and against librdkafka's
//! mock cluster where brokers have to come and go.

mod anew;
mod contact;
mod kit;
mod reading;
mod refused;
mod resending;
mod writing;
