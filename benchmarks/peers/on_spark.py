"""Spark Structured Streaming: files in, windows that the watermark closes, rows into the noop sink; or a topic in and a
table of PostgreSQL out.

One process with as many task threads as cores. What is set, and why, is in README.md of this folder.
"""

import os
import shutil
import tempfile

import through
from passes import Asked, measure
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

asked = Asked()
threads = os.environ["THREADS"]
SETTINGS = {
    "spark.sql.shuffle.partitions": threads,
    "spark.driver.memory": "8g",
    "spark.driver.extraJavaOptions": "-XX:+UseParallelGC",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.streaming.metricsEnabled": "false",
    "spark.log.level": "ERROR",
    "spark.sql.streaming.stateStore.providerClass":
        f"org.apache.spark.sql.execution.streaming.state.{os.environ.get('SPARK_STATE', 'HDFSBackedStateStoreProvider')}",
}
FILES_PER_TRIGGER = os.environ.get("SPARK_FILES_PER_TRIGGER", "1000")
builder = SparkSession.builder.master(f"local[{threads}]").appName("compare")
for name, value in SETTINGS.items():
    builder = builder.config(name, value)
if os.environ["JARS"]:
    builder = builder.config("spark.jars", os.environ["JARS"])
spark = builder.getOrCreate()
SCHEMA = "ts TIMESTAMP, id BIGINT, user_name STRING, kind STRING, place STRING, amount DECIMAL(10, 2)"


def from_files():
    return spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", FILES_PER_TRIGGER).json(str(asked.slices))


def from_topic():
    records = spark.readStream.format("kafka").option("kafka.bootstrap.servers", os.environ["KAFKA"])
    records = records.option("subscribe", asked.lanes.name).option("startingOffsets", "earliest").load()
    return records.select(f.from_json(f.col("value").cast("string"), SCHEMA).alias("event")).select("event.*")


def windows(events):
    grouped = events.withWatermark("ts", "5 seconds").groupBy(f.window("ts", "1 minute"), *asked.keys)
    counted = grouped.agg(f.count("*").alias("n"), f.sum("amount").alias("amount"))
    return counted.select(f.col("window.start").alias("minute"), *asked.keys, "n", "amount")


def into_table(rows, _):
    writer = rows.coalesce(1).write.format("jdbc").option("url", os.environ["JDBC_URL"] + "&reWriteBatchedInserts=true")
    writer = writer.option("driver", "org.postgresql.Driver").option("dbtable", "per_minute").option("batchsize", "5000")
    writer.mode("append").save()


def once(out):
    # A new query each time: state and what was read are kept in its checkpoint.
    checkpoint = tempfile.mkdtemp()
    if asked.scenario == "kafka":
        # The windows of the pass before have the same keys.
        through.query(f"TRUNCATE {through.schema_of('spark')}.per_minute")
        writer = windows(from_topic()).writeStream.outputMode("append").foreachBatch(into_table)
    else:
        writer = windows(from_files()).writeStream.outputMode("append")
        writer = writer.format("csv").option("path", str(out)) if out else writer.format("noop")
    writer.option("checkpointLocation", checkpoint).trigger(availableNow=True).start().awaitTermination()
    shutil.rmtree(checkpoint)


measure(asked, once)
spark.stop()
