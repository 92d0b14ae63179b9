import java.io.BufferedWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import org.rocksdb.ColumnFamilyDescriptor;
import org.rocksdb.ColumnFamilyHandle;
import org.rocksdb.ColumnFamilyOptions;
import org.rocksdb.DBOptions;
import org.rocksdb.Options;
import org.rocksdb.ReadOptions;
import org.rocksdb.RocksDB;
import org.rocksdb.RocksDBException;
import org.rocksdb.RocksIterator;

/**
 * Opens a database directory with the RocksDB that a Flink release carries, with the options Flink sets, and writes
 * down what is in it: proof that Flink reads the files.
 *
 * <pre>java -cp "$(tools/flink/setup 2.1.3)" tools/flink/OpenDatabase.java DIRECTORY OUTPUT</pre>
 *
 * OUTPUT holds one line per entry: column family, key and value (the latter two in hex), separated by tabs, ordered by
 * column family and key. Beyond reading, the checksums of all blocks are verified, every key is looked up on its own,
 * and everything is compacted and read again: Flink would go on with this database. The directory is changed by that.
 */
public final class OpenDatabase {
    private static final HexFormat HEX = HexFormat.of();

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 2) {
            System.err.println("usage: OpenDatabase DIRECTORY OUTPUT");
            System.exit(2);
        }
        RocksDB.loadLibrary();
        List<String> entries = read(arguments[0]);
        try (PrintWriter output = new PrintWriter(newWriter(arguments[1]))) {
            entries.forEach(output::println);
        }
        System.out.println("RocksDB " + RocksDB.rocksdbVersion() + " read " + entries.size() + " entries");
    }

    private static BufferedWriter newWriter(String file) throws Exception {
        return Files.newBufferedWriter(Path.of(file), StandardCharsets.UTF_8);
    }

    /** As Flink's RocksDBOperationUtils.openDB: all column families, each with the merge operator of list states. */
    private static List<String> read(String directory) throws RocksDBException {
        List<ColumnFamilyHandle> handles = new ArrayList<>();
        try (DBOptions options = new DBOptions().setCreateIfMissing(false).setUseFsync(false).setStatsDumpPeriodSec(0);
                ColumnFamilyOptions family = new ColumnFamilyOptions().setMergeOperatorName("stringappendtest");
                RocksDB database = RocksDB.open(options, directory, families(directory, family), handles)) {
            try {
                database.verifyChecksum();
                List<String> before = dump(database, handles);
                for (ColumnFamilyHandle handle : handles) {
                    database.compactRange(handle);
                }
                if (!before.equals(dump(database, handles))) {
                    throw new IllegalStateException("the entries after a compaction are not those before it");
                }
                return before;
            } finally {
                handles.forEach(ColumnFamilyHandle::close);
            }
        }
    }

    private static List<ColumnFamilyDescriptor> families(String directory, ColumnFamilyOptions family)
            throws RocksDBException {
        List<ColumnFamilyDescriptor> descriptors = new ArrayList<>();
        try (Options options = new Options()) {
            for (byte[] name : RocksDB.listColumnFamilies(options, directory)) {
                descriptors.add(new ColumnFamilyDescriptor(name, family));
            }
        }
        descriptors.sort((one, other) -> Arrays.compareUnsigned(one.getName(), other.getName()));
        return descriptors;
    }

    private static List<String> dump(RocksDB database, List<ColumnFamilyHandle> handles) throws RocksDBException {
        List<String> entries = new ArrayList<>();
        for (ColumnFamilyHandle handle : handles) {
            String name = new String(handle.getName(), StandardCharsets.UTF_8);
            try (ReadOptions options = new ReadOptions().setVerifyChecksums(true);
                    RocksIterator iterator = database.newIterator(handle, options)) {
                for (iterator.seekToFirst(); iterator.isValid(); iterator.next()) {
                    byte[] found = database.get(handle, options, iterator.key());
                    if (!Arrays.equals(found, iterator.value())) {
                        throw new IllegalStateException("in " + name + ", a look-up of the key "
                                + HEX.formatHex(iterator.key()) + " finds another value than an iterator");
                    }
                    entries.add(name + "\t" + HEX.formatHex(iterator.key()) + "\t" + HEX.formatHex(iterator.value()));
                }
                iterator.status();
            }
        }
        return entries;
    }
}
