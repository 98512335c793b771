//! Secrets of cameras, kept out of everything that is shown.

/// What takes the place of a secret.
const HIDDEN: &str = "***";
/// What the name of a setting contains whose value is a secret, in a URI's query or a GStreamer
/// pipeline: rather too much is hidden than too little.
const SECRETS: [&str; 9] = ["user", "usr", "pass", "pwd", "pw", "token", "secret", "key", "auth"];
/// Schemes of what has no host, and so no user.
const WITHOUT_HOST: [&str; 4] = ["file", "recording", "v4l2", "csi"];

/// Returns `text` without the user names and passwords in it: those before the host of a URI
/// (`rtsp://USER:PASSWORD@HOST`), and the values of settings that are secrets
/// (`?password=PASSWORD`, `user-pw=PASSWORD`).
#[must_use]
pub fn redacted(text: &str) -> String {
    without_values(&without_users(text))
}

/// Hides what stands between `://` and the last `@` before white space. A password may hold any
/// other character.
fn without_users(text: &str) -> String {
    let (mut shown, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("://") {
        shown += before;
        shown += "://";
        rest = after;
        let scheme = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        // Another URI begins a word of its own in all that is shown here.
        if let Some(at) = after[..end].rfind('@').filter(|_| !WITHOUT_HOST.contains(&scheme)) {
            shown += HIDDEN;
            rest = &after[at..];
        }
    }
    shown + rest
}

fn without_values(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let name = before.trim_end().rsplit(|c| !is_part(c)).next().unwrap_or_default().to_ascii_lowercase();
        shown += before;
        shown += "=";
        rest = after;
        if !SECRETS.iter().any(|secret| name.contains(secret)) {
            continue;
        }
        shown += HIDDEN;
        let value = after.trim_start();
        // A value in quotes ends with them, any other with what separates settings.
        let quoted = value.strip_prefix(['"', '\'']).and_then(|inside| {
            let quote = value.chars().next()?;
            inside.find(quote).map(|end| end + 2)
        });
        let end = quoted.or_else(|| value.find(|c: char| c.is_whitespace() || "&;\"'`!,)".contains(c)));
        rest = &value[end.unwrap_or(value.len())..];
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_are_hidden_wherever_they_stand() {
        for (text, shown) in [
            ("rtsp://admin:pa55@10.0.0.7:554/1", "rtsp://***@10.0.0.7:554/1"),
            ("rtsp://admin:p@55@cam/1?a=b", "rtsp://***@cam/1?a=b"),
            ("rtsp://admin@cam", "rtsp://***@cam"),
            (
                "rtsp://cam/1?user=admin&password=pa55&channel=1",
                "rtsp://cam/1?user=***&password=***&channel=1",
            ),
            (
                "gst://rtspsrc location=rtsp://a:b@cam/1 user-id=admin user-pw=\"pa 55\" latency=5 ! appsink",
                "gst://rtspsrc location=rtsp://***@cam/1 user-id=*** user-pw=*** latency=5 ! appsink",
            ),
            (
                "lost (rtsp://a:b@c/1); again from rtsp://a:b@c/2",
                "lost (rtsp://***@c/1); again from rtsp://***@c/2",
            ),
            ("rtsp://admin:pa#s/s?@cam/1", "rtsp://***@cam/1"),
            ("rtsp://cam/1?accessToken=abc&api_key=d", "rtsp://cam/1?accessToken=***&api_key=***"),
            ("souphttpsrc user-pw = \"a b\" proxy-pw=c", "souphttpsrc user-pw =*** proxy-pw=***"),
            ("/dev/video0", "/dev/video0"),
            ("recording://a@b/c", "recording://a@b/c"),
            ("file:///a@b.jpg", "file:///a@b.jpg"),
            ("pictures/a@b.jpg, 640=480", "pictures/a@b.jpg, 640=480"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }
}
