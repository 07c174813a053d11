import ca.uhn.hl7v2.AcknowledgmentCode;
import ca.uhn.hl7v2.DefaultHapiContext;
import ca.uhn.hl7v2.HL7Exception;
import ca.uhn.hl7v2.app.Connection;
import ca.uhn.hl7v2.app.ConnectionListener;
import ca.uhn.hl7v2.app.HL7Service;
import ca.uhn.hl7v2.llp.MinLowerLayerProtocol;
import ca.uhn.hl7v2.model.AbstractGroup;
import ca.uhn.hl7v2.model.Group;
import ca.uhn.hl7v2.model.Message;
import ca.uhn.hl7v2.model.Primitive;
import ca.uhn.hl7v2.model.Segment;
import ca.uhn.hl7v2.model.Structure;
import ca.uhn.hl7v2.model.Type;
import ca.uhn.hl7v2.protocol.MetadataKeys;
import ca.uhn.hl7v2.protocol.ReceivingApplication;
import ca.uhn.hl7v2.protocol.ReceivingApplicationExceptionHandler;
import ca.uhn.hl7v2.util.Terser;
import ca.uhn.hl7v2.util.idgenerator.InMemoryIDGenerator;
import ca.uhn.hl7v2.validation.impl.ValidationContextFactory;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * An HL7 v2.5.1 receiver that validates each message, does with it what it was told, and writes down what it got.
 *
 * <p>Arguments: port, journal file. Commands on standard input, each confirmed with "ok": "accept", "refuse CODE",
 * "stall" (never answer), "drop" (end the connection instead of answering). It ends when standard input does. Journal
 * lines: what was done, MSH-10, the message in base64, what is wrong with it; on disk before the answer leaves.
 */
public final class Receiver implements ReceivingApplication<Message>, ReceivingApplicationExceptionHandler {
    private final Set<Connection> connections = ConcurrentHashMap.newKeySet();
    private final RandomAccessFile journal;
    private volatile String[] order = {"accept"};

    private Receiver(RandomAccessFile journal) {
        this.journal = journal;
    }

    public static void main(String[] arguments) throws Exception {
        try (DefaultHapiContext context = new DefaultHapiContext();
                RandomAccessFile journal = new RandomAccessFile(arguments[1], "rw")) {
            journal.seek(journal.length());
            Receiver receiver = new Receiver(journal);
            context.setValidationContext(ValidationContextFactory.defaultValidation());
            context.getParserConfiguration().setIdGenerator(new InMemoryIDGenerator()); // the default writes a file
            context.setLowerLayerProtocol(new MinLowerLayerProtocol(true)); // read text as MSH-18 says
            HL7Service service = context.newServer(Integer.parseInt(arguments[0]), false);
            service.registerApplication(receiver);
            service.setExceptionHandler(receiver);
            service.registerConnectionListener(receiver.new Register());
            service.startAndWait();
            BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
            System.out.println("ready");
            for (String line = commands.readLine(); line != null; line = commands.readLine()) {
                receiver.order = line.split(" ");
                System.out.println("ok");
            }
            Runtime.getRuntime().halt(0); // a stalled message must not keep the process
        }
    }

    @Override
    public boolean canProcess(Message message) {
        return true;
    }

    @Override
    public Message processMessage(Message message, Map<String, Object> metadata) throws HL7Exception {
        String[] now = order;
        String raw = (String) metadata.get(MetadataKeys.IN_RAW_MESSAGE);
        List<String> faults = faults(message, raw);
        String id = new Terser(message).get("/MSH-10");
        try {
            if (!faults.isEmpty()) {
                write("invalid", id, raw, String.join("; ", faults));
                return message.generateACK(AcknowledgmentCode.AR, new HL7Exception("invalid"));
            }
            write(String.join(" ", now), id, raw, "");
            switch (now[0]) {
                case "refuse":
                    return message.generateACK(AcknowledgmentCode.valueOf(now[1]), new HL7Exception("refused"));
                case "stall":
                    Thread.sleep(Long.MAX_VALUE);
                    return null;
                case "drop":
                    for (Connection connection : connections) {
                        connection.close();
                    }
                    return message.generateACK();
                default:
                    return message.generateACK();
            }
        } catch (IOException | InterruptedException error) {
            throw new HL7Exception(error);
        }
    }

    /** Called for a message that does not parse or breaks the standard's data types. The given answer is sent. */
    @Override
    public String processException(String raw, Map<String, Object> metadata, String answer, Exception error) {
        try {
            write("unreadable", "", raw, String.valueOf(error.getMessage()));
        } catch (IOException failure) {
            Runtime.getRuntime().halt(3);
        }
        return answer;
    }

    private synchronized void write(String done, String id, String raw, String fault) throws IOException {
        String message = Base64.getEncoder().encodeToString(raw.getBytes(StandardCharsets.UTF_8));
        String line = String.join("\t", done, id, message, fault.replaceAll("[\t\r\n]", " ")) + "\n";
        journal.write(line.getBytes(StandardCharsets.UTF_8));
        journal.getFD().sync();
    }

    /** What the parser lets pass and the standard does not. */
    private static List<String> faults(Message message, String raw) throws HL7Exception {
        List<String> faults = new ArrayList<>();
        if (!message.getName().equals("ORU_R01") || !message.getVersion().equals("2.5.1")) {
            faults.add("not an ORU_R01 of 2.5.1 but " + message.getName() + " of " + message.getVersion());
        }
        examine(message, faults);
        if (!message.encode().equals(raw)) {
            faults.add("encoding what was understood gives another message");
        }
        return faults;
    }

    private static void examine(Group group, List<String> faults) throws HL7Exception {
        for (String name : group.getNames()) {
            Structure[] all = group.getAll(name);
            if (all.length == 0 && group.isRequired(name)) {
                faults.add(name + " is missing");
            }
            for (Structure each : all) {
                if (((AbstractGroup) group).getNonStandardNames().contains(name)) {
                    faults.add(name + " has no place here");
                } else if (each instanceof Group) {
                    examine((Group) each, faults);
                } else if (!each.isEmpty()) {
                    examine((Segment) each, faults);
                } else if (group.isRequired(name)) {
                    faults.add(name + " is empty");
                }
            }
        }
    }

    private static void examine(Segment segment, List<String> faults) throws HL7Exception {
        for (int number = 1; number <= segment.numFields(); number++) {
            Type[] repetitions = segment.getField(number);
            String place = segment.getName() + "-" + number;
            boolean empty = true;
            for (Type repetition : repetitions) {
                empty &= repetition.isEmpty();
                int length = segment.getLength(number);
                // Of composite types the standard's field lengths contradict those of their components, and of OBX-2 (2)
                // the codes that may stand there (CWE).
                if (repetition instanceof Primitive && length > 0 && !repetition.isEmpty() && !place.equals("OBX-2")) {
                    if (((Primitive) repetition).getValue().length() > length) {
                        faults.add(place + " is longer than " + length);
                    }
                }
            }
            if (empty && segment.isRequired(number)) {
                faults.add(place + " is required");
            }
            int most = segment.getMaxCardinality(number);
            if (most > 0 && repetitions.length > most) {
                faults.add(place + " repeats more than " + most + " times");
            }
        }
    }

    private final class Register implements ConnectionListener {
        @Override
        public void connectionReceived(Connection connection) {
            connections.add(connection);
        }

        @Override
        public void connectionDiscarded(Connection connection) {
            connections.remove(connection);
        }
    }
}
