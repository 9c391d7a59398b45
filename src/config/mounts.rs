//! Whether a file came into this mount namespace by a bind mount, as files and directories of the host come into a container.
//! Source: `/proc/self/mountinfo`, proc(5); where there is none the answer is no.

use std::path::{Path, PathBuf};

/// It is a mount point itself, or lies in a mount of a directory that is not the root of its file system.
pub(super) fn is_bind_mounted(path: &Path) -> bool {
    let (Ok(path), Ok(table)) = (path.canonicalize(), std::fs::read_to_string("/proc/self/mountinfo")) else {
        return false;
    };
    lies_in_bind(&table, &path)
}

fn lies_in_bind(table: &str, path: &Path) -> bool {
    let covers = table.lines().filter_map(Mount::parse).filter(|mount| path.starts_with(&mount.point));
    // Of several at one place the last was put on top.
    covers
        .max_by_key(|mount| mount.point.components().count())
        .is_some_and(|mount| mount.point == path || mount.is_bind)
}

struct Mount {
    point: PathBuf,
    is_bind: bool,
}

impl Mount {
    /// `36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
        // A subvolume is mounted by its own root.
        let subvolume = format!("subvol={root}");
        let options = right.split(' ').nth(2).unwrap_or_default();
        let is_bind = root != "/" && !options.split(',').any(|option| option == subvolume);
        Some(Self { point: point.into(), is_bind })
    }
}

/// Blanks, tabs, line ends and backslashes stand there as `\040` and so on.
fn unescaped(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(field.to_owned(), |text, (code, meant)| text.replace(code, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_decides() {
        let table = "\
1 0 0:1 / / rw - overlay overlay rw
2 1 0:2 / /tmp rw shared:5 - tmpfs tmpfs rw
3 1 8:1 /srv/conf /config rw,relatime - ext4 /dev/sda1 rw
4 1 8:1 /srv/a\\040b/.env /app/.env ro - ext4 /dev/sda1 rw
5 1 8:2 / /with\\040blank/.env rw - ext4 /dev/sdb1 rw
6 1 0:30 /@home /home rw - btrfs /dev/sdc rw,subvolid=257,subvol=/@home
7 6 0:30 /@home/me /home/bound rw - btrfs /dev/sdc rw,subvolid=257,subvol=/@home
8 3 0:9 / /config/memory rw - tmpfs tmpfs rw
";
        for (path, want) in [
            ("/.env", false),
            ("/tmp/x/.env", false),
            ("/config/.env", true),
            ("/config/deep/.env", true),
            ("/config/memory/.env", false),
            ("/configs/.env", false),
            ("/app/.env", true),
            ("/app/other", false),
            ("/with blank/.env", true),
            ("/home/me/.env", false),
            ("/home/bound/.env", true),
        ] {
            assert_eq!(lies_in_bind(table, Path::new(path)), want, "{path}");
        }
    }
}
