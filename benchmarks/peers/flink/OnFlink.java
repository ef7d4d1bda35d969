// Flink SQL: files in and rows into the blackhole, or a topic in and rows into PostgreSQL; job manager and task manager
// in this one process, as Flink runs a program that is started by itself. It is asked and answers as passes.py
// says; what is set, and why, is in README.md of the folder above.

import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

public final class OnFlink {
  private static final String EVENTS = """
      CREATE TABLE events (
        ts TIMESTAMP(3), id BIGINT, user_name STRING, kind STRING, place STRING, amount DECIMAL(10, 2),
        WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
      ) WITH (%s, 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601')
      """;
  private static final String PER_MINUTE = """
      CREATE TABLE %s (`minute` TIMESTAMP(3), %s, n BIGINT, amount DECIMAL(38, 2)%s) WITH (%s)
      """;
  private static final String INSERT = """
      INSERT INTO %s SELECT window_start, %s, count(*), sum(amount)
      FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
      GROUP BY window_start, window_end, %s
      """;

  public static void main(String[] arguments) throws Exception {
    boolean files = !arguments[0].equals("kafka");
    boolean high = arguments[0].equals("high");
    String keys = high ? "user_name" : "kind, place";
    String columns = high ? "user_name STRING" : "kind STRING, place STRING";
    int passes = Integer.parseInt(arguments[3]);
    double seconds = Double.parseDouble(arguments[4]);
    Path out = Path.of(arguments[5]);

    TableEnvironment tables = TableEnvironment.create(
        EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings(high)).build());
    tables.executeSql(EVENTS.formatted(files ? folder(arguments[1]) : topic(arguments[1])));
    String unique = files ? "" : ", PRIMARY KEY (`minute`, kind, place) NOT ENFORCED";
    tables.executeSql(PER_MINUTE.formatted("dropped", columns, unique, files ? "'connector' = 'blackhole'" : table()));
    tables.executeSql(PER_MINUTE.formatted("written", columns, "",
        "'connector' = 'filesystem', 'format' = 'csv', 'path' = '" + out.toUri() + "'"));
    say("ready");
    double began = now();
    for (int turn = 0; turn < passes && (turn == 0 || now() - began < seconds); turn++) {
      double start = now();
      tables.executeSql(INSERT.formatted("dropped", keys, keys)).await();
      say("pass %.3f".formatted(now() - start));
    }
    // What is in the database is compared there.
    if (files) {
      Files.createDirectories(out);
      tables.executeSql(INSERT.formatted("written", keys, keys)).await();
    }
    say("checked");
    System.exit(0);
  }

  private static String folder(String lanes) {
    return "'connector' = 'filesystem', 'path' = '" + Path.of(lanes).toUri() + "'";
  }

  private static String topic(String name) {
    return "'connector' = 'kafka', 'topic' = '" + name + "', 'properties.bootstrap.servers' = '" + System.getenv("KAFKA")
        + "', 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'";
  }

  private static String table() {
    return "'connector' = 'jdbc', 'table-name' = 'per_minute', 'url' = '" + System.getenv("JDBC_URL")
        + "', 'sink.buffer-flush.max-rows' = '5000'";
  }

  private static Configuration settings(boolean high) throws Exception {
    Configuration settings = new Configuration();
    settings.setString("parallelism.default", System.getenv("THREADS"));
    settings.setString("pipeline.object-reuse", "true");
    settings.setString("execution.checkpointing.interval", "10 s");
    settings.setString("execution.checkpointing.storage", "filesystem");
    settings.setString("execution.checkpointing.dir", Files.createTempDirectory("flink").toUri().toString());
    settings.setString("state.backend.type", "hashmap");
    settings.setString("taskmanager.memory.managed.size", "1gb");
    settings.setString("taskmanager.memory.network.min", "256mb");
    settings.setString("taskmanager.memory.network.max", "256mb");
    settings.setString("table.exec.mini-batch.enabled", "true");
    settings.setString("table.exec.mini-batch.allow-latency", "1 s");
    settings.setString("table.exec.mini-batch.size", "10000");
    // A minute and its keys come once: a row in conflict would be a mistake, which the comparison shows.
    settings.setString("table.exec.sink.require-on-conflict", "false");
    settings.setString("table.exec.sink.upsert-materialize", "NONE");
    String phases = System.getenv().getOrDefault("FLINK_PHASES", high ? "ONE_PHASE" : "TWO_PHASE");
    settings.setString("table.optimizer.agg-phase-strategy", phases);
    return settings;
  }

  private static double now() {
    return System.nanoTime() / 1e9;
  }

  private static void say(String line) {
    System.out.println(line);
    System.out.flush();
  }
}
