import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.errors.SaslAuthenticationException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.StringSerializer;

/** Apache Kafka's own client, as its documentation has it, against an address with a user and a password. */
public class KafkaJava {
    private static String address;
    private static String user;

    private static KafkaProducer<String, String> producer(String password, String... settings) {
        Properties all = new Properties();
        all.put("bootstrap.servers", address);
        all.put("security.protocol", "SASL_PLAINTEXT");
        all.put("sasl.mechanism", "PLAIN");
        all.put("sasl.jaas.config", "org.apache.kafka.common.security.plain.PlainLoginModule required username=\""
                + user + "\" password=\"" + password + "\";");
        all.put("linger.ms", "5");
        all.put("max.block.ms", "20000");
        for (int at = 0; at < settings.length; at += 2) {
            all.put(settings[at], settings[at + 1]);
        }
        return new KafkaProducer<>(all, new StringSerializer(), new StringSerializer());
    }

    private static void send(String part, String password, String... settings) throws Exception {
        try (KafkaProducer<String, String> to = producer(password, settings)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int id = 0; id < 1000; id++) {
                String value = "{\"id\":" + id + ",\"part\":\"" + part + "\"}";
                ProducerRecord<String, String> record = new ProducerRecord<>("shared", Integer.toString(id), value);
                record.headers().add("h", new byte[] {'1'});
                sent.add(to.send(record));
            }
            for (Future<RecordMetadata> each : sent) {
                each.get(20, TimeUnit.SECONDS);
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        address = arguments[0];
        user = arguments[1];
        String password = arguments[2];
        send("none", password, "enable.idempotence", "false");
        for (String compression : List.of("gzip", "snappy", "lz4", "zstd")) {
            send(compression, password, "compression.type", compression);
        }
        send("idempotent", password, "enable.idempotence", "true", "max.in.flight.requests.per.connection", "5");
        send("zero", password, "acks", "0", "enable.idempotence", "false");
        try (KafkaProducer<String, String> stranger = producer("guess")) {
            stranger.send(new ProducerRecord<>("shared", "{}")).get(20, TimeUnit.SECONDS);
        } catch (ExecutionException error) {
            if (!(error.getCause() instanceof SaslAuthenticationException)) {
                throw error;
            }
            System.out.println("wrong password: refused " + error.getCause().getMessage());
        }
        try (KafkaProducer<String, String> lost = producer(password, "max.block.ms", "1000")) {
            lost.send(new ProducerRecord<>("orders", "{}")).get(20, TimeUnit.SECONDS);
        } catch (ExecutionException error) {
            if (!(error.getCause() instanceof TimeoutException)) {
                throw error;
            }
            System.out.println("unknown topic: refused " + error.getCause().getMessage());
        }
    }
}
