import java.net.Socket;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.SSLSocketFactory;

/** Asks HOST:PORTs on loopback for a TLS handshake, as the default trust store and HTTPS verify them; says for each how it went. */
public class Client {
    public static void main(String[] arguments) throws Exception {
        SSLSocketFactory factory = (SSLSocketFactory) SSLSocketFactory.getDefault();
        for (String asked : arguments) {
            String host = asked.split(":")[0];
            int port = Integer.parseInt(asked.split(":")[1]);
            try (Socket plain = new Socket("127.0.0.1", port); SSLSocket socket = (SSLSocket) factory.createSocket(plain, host, port, true)) {
                SSLParameters parameters = socket.getSSLParameters();
                parameters.setEndpointIdentificationAlgorithm("HTTPS");
                socket.setSSLParameters(parameters);
                socket.startHandshake();
                System.out.println("accepted " + asked);
            } catch (SSLException error) {
                System.out.println("refused " + asked + " " + error.getMessage());
            }
        }
    }
}
