//! Secrets of cameras, kept out of everything that is shown.

/// What takes the place of a secret.
const HIDDEN: &str = "***";
/// Names of settings whose value is a secret, in a URI's query or a GStreamer pipeline.
const SECRETS: [&str; 10] =
    ["user-id", "user-pw", "user", "username", "usr", "password", "passwd", "pwd", "token", "secret"];

/// Returns `text` without the user names and passwords in it: those before the host of a URI
/// (`rtsp://USER:PASSWORD@HOST`), and the values of settings that are secrets
/// (`?password=PASSWORD`, `user-pw=PASSWORD`).
pub(crate) fn redacted(text: &str) -> String {
    without_values(&without_users(text))
}

/// Hides what stands between `://` and an `@` in the part of a URI that names the host. A password
/// may hold an `@` itself, so the last one counts.
fn without_users(text: &str) -> String {
    let (mut shown, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("://") {
        let end = after.find(|c: char| c.is_whitespace() || "/?#\"'`<>|".contains(c)).unwrap_or(after.len());
        shown += before;
        shown += "://";
        let (authority, left) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                shown += HIDDEN;
                shown += "@";
                shown += host;
            }
            None => shown += authority,
        }
        rest = left;
    }
    shown + rest
}

fn without_values(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let name = before.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).next();
        let is_secret =
            name.is_some_and(|name| SECRETS.iter().any(|secret| secret.eq_ignore_ascii_case(name)));
        shown += before;
        shown += "=";
        rest = after;
        if !is_secret {
            continue;
        }
        shown += HIDDEN;
        // A value in quotes ends with them, any other with what separates settings.
        let quoted = after.strip_prefix(['"', '\'']).and_then(|inside| {
            let quote = after.chars().next()?;
            inside.find(quote).map(|end| end + 2)
        });
        let end = quoted.or_else(|| after.find(|c: char| c.is_whitespace() || "&;\"'`!,)".contains(c)));
        rest = &after[end.unwrap_or(after.len())..];
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
            ("/dev/video0", "/dev/video0"),
            ("recording://a@b/c", "recording://***@b/c"),
            ("pictures/a@b.jpg, 640=480", "pictures/a@b.jpg, 640=480"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }
}
