import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Writes COUNT records of BYTES bytes to TOPIC with each codec: Produce SERVERS TOPIC COUNT BYTES CODEC... */
public class Produce {
    public static void main(String[] arguments) throws Exception {
        int count = Integer.parseInt(arguments[2]);
        int bytes = Integer.parseInt(arguments[3]);
        for (int codec = 4; codec < arguments.length; codec++) {
            Properties settings = new Properties();
            settings.put("bootstrap.servers", arguments[0]);
            settings.put("compression.type", arguments[codec]);
            settings.put("linger.ms", "500");
            settings.put("batch.size", "4194304");
            settings.put("max.request.size", "16777216");
            try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
                for (int number = 0; number < count; number++) {
                    byte[] value = new byte[bytes];
                    value[0] = (byte) number;
                    producer.send(new ProducerRecord<>(arguments[1], arguments[codec].getBytes(), value));
                }
            }
        }
    }
}
