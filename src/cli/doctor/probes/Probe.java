import java.net.Proxy;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/** One request by the JDK's own client, and a line that says how it went. */
public class Probe {
    public static void main(String[] args) {
        URI uri = URI.create(args[1]);
        // The name is in no DNS, and nobody is to be asked for it.
        if (ProxySelector.getDefault().select(uri).stream().allMatch(proxy -> proxy.type() == Proxy.Type.DIRECT)) {
            say("direct", "");
            return;
        }
        try {
            HttpRequest request =
                HttpRequest.newBuilder(uri).header("Authorization", "Bearer doctor").timeout(Duration.ofSeconds(8)).build();
            HttpResponse<Void> answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.discarding());
            String via = answer.headers().firstValue("proxy-status").orElse("");
            say(via.contains("batch-retry-proxy") ? "works" : "direct", "");
        } catch (Throwable error) {
            StringBuilder text = new StringBuilder();
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                text.append(cause).append("; ");
            }
            boolean untrusted = text.indexOf("PKIX") >= 0 || text.indexOf("trustAnchors") >= 0;
            say(untrusted ? "untrusted" : "failed", text.toString());
        }
        System.exit(0);
    }

    private static void say(String outcome, String detail) {
        String version = System.getProperty("java.version");
        System.out.println(String.join("\t", "doctor", "java", version, outcome, detail.replaceAll("\\s+", " ")));
        System.out.flush();
    }
}
