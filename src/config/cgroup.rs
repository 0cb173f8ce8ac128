//! How much memory the cgroup of this process may use.
//!
//! Version 2 keeps the limit in `memory.max`, version 1 in `memory.limit_in_bytes` of the memory controller (kernel
//! documents cgroup-v2 and cgroup-v1/memory). A limit of any ancestor binds too, so the smallest on the way up counts. In a
//! container the path in `/proc/self/cgroup` may be the host's and lead nowhere; the mount's own top is then the container's.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The limit in bytes; `None` where there is none or it cannot be read. `root` is `/` but in tests.
pub(super) fn memory_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = [("sys/fs/cgroup", "memory.max"), ("sys/fs/cgroup/memory", "memory.limit_in_bytes")];
    let paths = [path_of(&groups, |controllers| controllers.is_empty()), path_of(&groups, lists_memory)];
    let limits = mounts.iter().zip(&paths).filter_map(|((mount, file), path)| {
        // A path with `..` points out of this process's cgroup namespace; only the top of the mount can be read then.
        path.ancestors().filter_map(|group| read_limit(&root.join(mount).join(group).join(file))).min()
    });
    limits.min()
}

/// The group in the hierarchy whose controllers `wanted` accepts, without its leading slash; empty for the top.
fn path_of(groups: &str, wanted: impl Fn(&str) -> bool) -> PathBuf {
    let path = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        let path = fields.next()?;
        wanted(controllers).then(|| Path::new(path))
    });
    let parts = path.into_iter().flat_map(Path::components).filter(|part| *part != Component::RootDir);
    let parts: Vec<_> = parts.collect();
    if parts.iter().all(|part| matches!(part, Component::Normal(_))) { parts.iter().collect() } else { PathBuf::new() }
}

fn lists_memory(controllers: &str) -> bool {
    controllers.split(',').any(|name| name == "memory")
}

/// `max` is no number and so no limit.
fn read_limit(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_on_the_way_up_counts() {
        const V1_NONE: &str = "9223372036854771712";
        for (name, files, want) in [
            ("nothing readable", &[][..], None),
            (
                "v2 in a container",
                &[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "536870912\n")],
                Some(536_870_912),
            ),
            ("v2 without a limit", &[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "max\n")], None),
            (
                "v2 own group",
                &[
                    ("proc/self/cgroup", "0::/a/b\n"),
                    ("sys/fs/cgroup/a/b/memory.max", "100\n"),
                    ("sys/fs/cgroup/a/memory.max", "max"),
                ],
                Some(100),
            ),
            (
                "v2 parent",
                &[
                    ("proc/self/cgroup", "0::/a/b\n"),
                    ("sys/fs/cgroup/a/b/memory.max", "max"),
                    ("sys/fs/cgroup/a/memory.max", "70\n"),
                ],
                Some(70),
            ),
            (
                "v2 sibling",
                &[
                    ("proc/self/cgroup", "0::/a/b\n"),
                    ("sys/fs/cgroup/a/c/memory.max", "5\n"),
                    ("sys/fs/cgroup/a/memory.max", "70\n"),
                ],
                Some(70),
            ),
            (
                "out of the namespace",
                &[("proc/self/cgroup", "0::/../x\n"), ("sys/fs/x/memory.max", "5"), ("sys/fs/cgroup/memory.max", "80\n")],
                Some(80),
            ),
            (
                "v1 own group",
                &[
                    ("proc/self/cgroup", "5:cpu,cpuacct:/c\n4:memory:/m\n1:name=systemd:/s\n"),
                    ("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "90\n"),
                    ("sys/fs/cgroup/memory/memory.limit_in_bytes", V1_NONE),
                ],
                Some(90),
            ),
            (
                "v1 with the host's path",
                &[("proc/self/cgroup", "4:memory:/docker/0123\n"), ("sys/fs/cgroup/memory/memory.limit_in_bytes", "60\n")],
                Some(60),
            ),
        ] {
            let root = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            assert_eq!(memory_limit(root.path()), want, "{name}");
        }
    }
}
