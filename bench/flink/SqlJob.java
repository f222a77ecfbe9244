import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.GlobalConfiguration;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.api.TableException;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.table.api.ValidationException;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/**
 * Carries out the statements of a file in the cluster that a configuration folder describes.
 *
 * <p>usage: SqlJob CONFIGURATION STATEMENTS LOOKUP
 *
 * <p>Prints {@code JOB id} after an INSERT has ended, {@code ROW a b …} with the last state of a SELECT, and {@code
 * REFUSED why} when a statement is not one that Flink can carry out.
 */
public class SqlJob {
    public static void main(String[] arguments) throws Exception {
        Configuration configuration = GlobalConfiguration.loadConfiguration(arguments[0]);
        configuration.set(PipelineOptions.GLOBAL_JOB_PARAMETERS, Map.of("lookup", arguments[2]));
        TableEnvironment tables = TableEnvironment.create(
                EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(configuration).build());
        for (String statement : Files.readString(Path.of(arguments[1])).split(";\\s*\n")) {
            if (statement.isBlank()) {
                continue;
            }
            TableResult result;
            try {
                result = tables.executeSql(statement);
            } catch (TableException | ValidationException refused) {
                System.out.println("REFUSED " + refused.getMessage().lines().findFirst().orElse("without a word"));
                return;
            }
            if (statement.startsWith("INSERT")) {
                JobClient job = result.getJobClient().orElseThrow();
                job.getJobExecutionResult().get();
                System.out.println("JOB " + job.getJobID());
            } else if (statement.startsWith("SELECT")) {
                System.out.println("ROW " + last(result));
            } else if (statement.startsWith("EXPLAIN")) {
                result.print();
            }
        }
    }

    /** A changelog of one row: what stands in it at the end. */
    private static String last(TableResult result) throws Exception {
        StringBuilder text = new StringBuilder();
        try (CloseableIterator<Row> rows = result.collect()) {
            Row row = null;
            while (rows.hasNext()) {
                row = rows.next();
            }
            for (int at = 0; row != null && at < row.getArity(); at++) {
                text.append(at == 0 ? "" : " ").append(row.getField(at));
            }
        }
        return text.toString();
    }
}
