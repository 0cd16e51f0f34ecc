//! A disk of its own that can be full, or not be written to at all.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// 256 KiB, mounted until dropped.
pub(crate) struct SmallDisk {
    pub(crate) folder: TempDir,
}

impl SmallDisk {
    /// `None` where this user may not mount anything.
    pub(crate) fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs"]).arg(folder.path());
        let mounted = mount.output().is_ok_and(|done| done.status.success());
        mounted.then_some(Self { folder })
    }

    /// Leaves no room for another byte.
    pub(crate) fn fill(&self) {
        let full = fs::write(self.filler(), vec![0; 1 << 20]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }

    pub(crate) fn remount(&self, how: &str) {
        let done = Command::new("mount").arg("-o").arg(format!("remount,{how}")).arg(self.folder.path()).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _left_to_the_machine = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}
