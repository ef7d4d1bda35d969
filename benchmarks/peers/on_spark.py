"""Spark Structured Streaming: files in, windows that the watermark closes, rows into the noop sink.

One process with as many task threads as cores. What is set, and why, is in README.md of this folder.
"""

import os
import shutil
import tempfile

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
spark = builder.getOrCreate()
SCHEMA = "ts TIMESTAMP, id BIGINT, user_name STRING, kind STRING, place STRING, amount DECIMAL(10, 2)"


def windows():
    events = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", FILES_PER_TRIGGER).json(str(asked.slices))
    grouped = events.withWatermark("ts", "5 seconds").groupBy(f.window("ts", "1 minute"), *asked.keys)
    counted = grouped.agg(f.count("*").alias("n"), f.sum("amount").alias("amount"))
    minute = f.date_format("window.start", "yyyy-MM-dd HH:mm").alias("minute")
    return counted.select(minute, *asked.keys, "n", "amount")


def once(out):
    # A new query each time: state and the list of files are kept in its checkpoint.
    checkpoint = tempfile.mkdtemp()
    writer = windows().writeStream.outputMode("append").option("checkpointLocation", checkpoint)
    writer = writer.format("csv").option("path", str(out)) if out else writer.format("noop")
    writer.trigger(availableNow=True).start().awaitTermination()
    shutil.rmtree(checkpoint)


measure(asked, once)
spark.stop()
