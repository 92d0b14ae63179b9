import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ReducingState;
import org.apache.flink.api.common.state.ReducingStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.core.execution.SavepointFormatType;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/**
 * A Flink job on its RocksDB backend that starts from a checkpoint Highwater wrote, says what it finds, changes it, and
 * stops with a native savepoint for Highwater to start from.
 *
 * <pre>tools/flink/run RestoreJob CHECKPOINT PARALLELISM KEYS OUTPUT SAVEPOINTS</pre>
 *
 * The operator with the uid "words" is keyed by String and has the states count (value, Long), places (list, String),
 * lengths (map, String to Long) and sum (reducing, Long). For each of the keys "key 0" to "key KEYS-1", OUTPUT gets a
 * line of what they hold: key, count, places, lengths by map key, and sum, separated by tabs; the places and lengths by
 * commas. Then count and sum grow by 1, "flink" is appended to the places, and the length of "flink" becomes 5. The
 * native savepoint of that is written below SAVEPOINTS, and its path is the last line of OUTPUT. With "-" for CHECKPOINT
 * the job starts empty.
 */
public final class RestoreJob {
    private static final Queue<String> FOUND = new ConcurrentLinkedQueue<>();

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 5) {
            System.err.println("usage: RestoreJob CHECKPOINT PARALLELISM KEYS OUTPUT SAVEPOINTS");
            System.exit(2);
        }
        int parallelism = Integer.parseInt(arguments[1]);
        int keys = Integer.parseInt(arguments[2]);
        JobClient job = start(arguments[0], parallelism, keys);
        awaitAnswers(job, keys);
        String savepoint =
                job.stopWithSavepoint(false, arguments[4], SavepointFormatType.NATIVE).get(60, TimeUnit.SECONDS);

        List<String> lines = new ArrayList<>(FOUND);
        lines.sort(null);
        lines.add(savepoint);
        Files.write(Path.of(arguments[3]), lines, StandardCharsets.UTF_8);
    }

    private static JobClient start(String checkpoint, int parallelism, int keys) throws Exception {
        Configuration configuration = new Configuration();
        if (!checkpoint.equals("-")) {
            configuration.setString("execution.state-recovery.path", checkpoint);
        }
        configuration.setString("state.backend.type", "rocksdb");
        configuration.setString("execution.checkpointing.incremental", "true");
        configuration.setString("restart-strategy.type", "none");
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(configuration);
        environment.setParallelism(parallelism);
        // Never ends by itself: a job that has ended takes no savepoint.
        environment
                .fromSequence(0, Long.MAX_VALUE)
                .setParallelism(1)
                .filter(number -> isKey(number, keys))
                .setParallelism(1)
                .map(number -> "key " + number)
                .returns(Types.STRING)
                .setParallelism(1)
                .keyBy(key -> key)
                .process(new Words())
                .uid("words");
        return environment.executeAsync("restore");
    }

    private static boolean isKey(long number, int keys) throws InterruptedException {
        if (number >= keys) {
            Thread.sleep(10);
        }
        return number < keys;
    }

    private static void awaitAnswers(JobClient job, int keys) throws Exception {
        long end = System.nanoTime() + Duration.ofSeconds(120).toNanos();
        while (FOUND.size() < keys) {
            if (job.getJobStatus().get(10, TimeUnit.SECONDS).isGloballyTerminalState()) {
                job.getJobExecutionResult().get(10, TimeUnit.SECONDS);
            }
            if (System.nanoTime() > end) {
                throw new IllegalStateException("only " + FOUND.size() + " of " + keys + " keys were answered in time");
            }
            Thread.sleep(50);
        }
    }

    private static final class Words extends KeyedProcessFunction<String, String, String> {
        private transient ValueState<Long> count;
        private transient ListState<String> places;
        private transient MapState<String, Long> lengths;
        private transient ReducingState<Long> sum;

        @Override
        public void open(OpenContext context) throws Exception {
            count = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.LONG));
            places = getRuntimeContext().getListState(new ListStateDescriptor<>("places", Types.STRING));
            lengths = getRuntimeContext().getMapState(new MapStateDescriptor<>("lengths", Types.STRING, Types.LONG));
            sum = getRuntimeContext().getReducingState(new ReducingStateDescriptor<>("sum", Long::sum, Types.LONG));
        }

        @Override
        public void processElement(String key, Context context, Collector<String> out) throws Exception {
            FOUND.add(String.join("\t", key, text(count.value()), foundPlaces(), foundLengths(), text(sum.get())));
            Long before = count.value();
            count.update(before == null ? 1 : before + 1);
            places.add("flink");
            lengths.put("flink", 5L);
            sum.add(1L);
        }

        private String foundPlaces() throws Exception {
            return String.join(",", places.get());
        }

        private String foundLengths() throws Exception {
            TreeMap<String, String> found = new TreeMap<>();
            for (Map.Entry<String, Long> entry : lengths.entries()) {
                found.put(entry.getKey(), entry.getKey() + "=" + entry.getValue());
            }
            return String.join(",", found.values());
        }

        private static String text(Long value) {
            return value == null ? "" : value.toString();
        }
    }
}
