import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.binary.BinaryStringData;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ScalarFunction;

/** The second value of the line that begins with a text, in the CSV named by the job's parameter "lookup". */
public class Lookup extends ScalarFunction {
    private transient Map<String, StringData> values;

    @Override
    public void open(FunctionContext context) throws IOException {
        List<String> lines = Files.readAllLines(Path.of(context.getJobParameter("lookup", "")));
        values = new HashMap<>(lines.size() * 2);
        for (String line : lines.subList(1, lines.size())) {
            int comma = line.indexOf(',');
            BinaryStringData value = BinaryStringData.fromString(line.substring(comma + 1));
            value.ensureMaterialized(); // encoded once here, not once per event
            values.put(line.substring(0, comma), value);
        }
    }

    public @DataTypeHint(value = "STRING", bridgedTo = StringData.class) StringData eval(String key) {
        return values.get(key);
    }
}
