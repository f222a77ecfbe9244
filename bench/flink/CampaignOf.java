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

/** campaign_of(ad_id): the campaign of an ad, from the CSV named by the job's parameter "ads". */
public class CampaignOf extends ScalarFunction {
    private transient Map<String, StringData> campaigns;

    @Override
    public void open(FunctionContext context) throws IOException {
        List<String> lines = Files.readAllLines(Path.of(context.getJobParameter("ads", "")));
        campaigns = new HashMap<>(lines.size() * 2);
        for (String line : lines.subList(1, lines.size())) {
            int comma = line.indexOf(',');
            BinaryStringData campaign = BinaryStringData.fromString(line.substring(comma + 1));
            campaign.ensureMaterialized(); // encoded once here, not once per event
            campaigns.put(line.substring(0, comma), campaign);
        }
    }

    public @DataTypeHint(value = "STRING", bridgedTo = StringData.class) StringData eval(String ad) {
        return campaigns.get(ad);
    }
}
