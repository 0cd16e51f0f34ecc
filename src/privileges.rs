//! In the app the program begins as root, because the Supervisor makes /data as root. It gives that folder, and the one
//! of the clips, to a user of its own and becomes that user for good, before anything else runs: what comes from
//! cameras, clouds and browsers is never read as root (requirement S24).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process;
use rustix::thread::{self, CapabilitySet, CapabilitySets, Gid, Uid};

/// User and group of the app, both; what is kept in /data is theirs. A number without a name: the image has no
/// list of users.
pub const APP_USER: u32 = 10_001;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Deeper than anything that Doorstep makes in its folder.
const DEEPEST: usize = 8;

/// Why Doorstep does not start: it would have to go on as root.
#[derive(Debug, thiserror::Error)]
#[error(
    "Doorstep was started as root and could not become user {APP_USER} ({step}: {why}). It does not read what cameras \
     and clouds send as root, so it does not start; the container has to allow SETUID and SETGID, as Home Assistant's do"
)]
pub struct StillRoot {
    step: &'static str,
    why: io::Error,
}

/// Gives `data` and the folder of `clips` to [`APP_USER`] and becomes that user, who has no capability and can get none.
/// Nothing happens to whoever is not root. The folder of clips is made, where there is something to make it in.
///
/// A folder that cannot be given away is warned of: the service then lasts as long as its memory, which the store says
/// as well. Root that cannot be given up is an error, since a doorbell that is down is the smaller harm.
///
/// # Errors
/// [`StillRoot`]; also when a second thread runs, which would stay root.
pub fn give_up_root(data: Option<&Path>, clips: Option<&Path>) -> Result<(), StillRoot> {
    if !process::geteuid().is_root() {
        return Ok(());
    }
    let given = data.map(give_away).into_iter().chain(clips.map(share));
    for Kept { path, why } in given.filter_map(Result::err) {
        tracing::warn!(path = %path.display(), %why, "this cannot be given to the app's user; what is there may stay unread");
    }
    become_the_app().map_err(|(step, why)| StillRoot { step, why })
}

/// What stayed root's.
struct Kept {
    path: PathBuf,
    why: io::Error,
}

/// Gives the whole folder, closed to others if it was root's.
fn give_away(folder: &Path) -> Result<(), Kept> {
    let kept = |why: Errno| Kept { path: folder.to_owned(), why: why.into() };
    let opened = match rustix::fs::open(folder, FOLDER, Mode::empty()) {
        Ok(opened) => opened,
        // Whoever needs it makes it, and is the app's user by then.
        Err(Errno::NOENT) => return Ok(()),
        Err(why) => return Err(kept(why)),
    };
    // The Supervisor makes it for everybody to read. Later on it is ours and closed.
    if rustix::fs::fstat(&opened).is_ok_and(|found| found.st_uid == 0) {
        rustix::fs::fchmod(&opened, Mode::RWXU).map_err(kept)?;
    }
    give(opened.as_fd(), folder)
}

/// Makes the folder and gives it, open to the owner's other apps, which put things there and go on seeing them.
fn share(folder: &Path) -> Result<(), Kept> {
    let kept = |why: Errno| Kept { path: folder.to_owned(), why: why.into() };
    match rustix::fs::mkdir(folder, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        // The Supervisor has given nothing to share.
        Err(Errno::NOENT) => return Ok(()),
        Err(why) => return Err(kept(why)),
    }
    // Those other apps could have put a link there.
    let opened = rustix::fs::open(folder, FOLDER | OFlags::NOFOLLOW, Mode::empty()).map_err(kept)?;
    give(opened.as_fd(), folder)
}

/// Whatever cannot be given is left, and the first of that is the error.
fn give(opened: BorrowedFd<'_>, folder: &Path) -> Result<(), Kept> {
    let inside = give_entries(opened, folder, DEEPEST);
    let (user, group) = app();
    let kept = |why: Errno| Kept { path: folder.to_owned(), why: why.into() };
    inside.and(rustix::fs::fchown(opened, Some(user), Some(group)).map_err(kept))
}

/// Walks by open folders and follows no link, so that a link left in there gives away nothing else.
fn give_entries(folder: BorrowedFd<'_>, path: &Path, deeper: usize) -> Result<(), Kept> {
    let entries = Dir::read_from(folder).map_err(|why| Kept { path: path.to_owned(), why: why.into() })?;
    // All of them, whatever becomes of one.
    let given: Vec<Result<(), Kept>> = entries
        .map(|entry| {
            let entry = entry.map_err(|why| Kept { path: path.to_owned(), why: why.into() })?;
            give_entry(folder, &entry, path, deeper)
        })
        .collect();
    given.into_iter().collect()
}

fn give_entry(folder: BorrowedFd<'_>, entry: &DirEntry, path: &Path, deeper: usize) -> Result<(), Kept> {
    let name = entry.file_name();
    if matches!(name.to_bytes(), b"." | b"..") {
        return Ok(());
    }
    let inside = path.join(String::from_utf8_lossy(name.to_bytes()).as_ref());
    let kept = |why: Errno| Kept { path: inside.clone(), why: why.into() };
    let (user, group) = app();
    rustix::fs::chownat(folder, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW).map_err(kept)?;
    if entry.file_type() != FileType::Directory {
        return Ok(());
    }
    let deeper = deeper.checked_sub(1).ok_or_else(|| kept(Errno::LOOP))?;
    let opened = rustix::fs::openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()).map_err(kept)?;
    give_entries(opened.as_fd(), &inside, deeper)
}

/// The order matters: groups can be changed by root only, and the user is last.
fn become_the_app() -> Result<(), (&'static str, io::Error)> {
    fn at<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> (&'static str, io::Error) {
        move |why| (step, why.into())
    }
    let (user, group) = app();
    // The kernel changes one thread's user. Threads that are started later have it too; earlier ones would not.
    let threads = std::fs::read_dir("/proc/self/task").map_err(at("counting the threads"))?.count();
    if threads != 1 {
        return Err(("counting the threads", io::Error::other("there is more than one")));
    }
    thread::set_thread_groups(&[]).map_err(at("leaving root's groups"))?;
    thread::set_thread_res_gid(group, group, group).map_err(at("changing the group"))?;
    thread::set_thread_res_uid(user, user, user).map_err(at("changing the user"))?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    thread::set_capabilities(None, sets).map_err(at("giving up capabilities"))?;
    thread::set_no_new_privs(true).map_err(at("giving up new capabilities"))?;
    match thread::set_thread_uid(Uid::ROOT) {
        Err(_) => Ok(()),
        Ok(()) => Err(("changing the user", io::Error::other("there is a way back to root"))),
    }
}

fn app() -> (Uid, Gid) {
    (Uid::from_raw(APP_USER), Gid::from_raw(APP_USER))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn owner(path: &Path) -> (u32, u32) {
        let found = fs::symlink_metadata(path).unwrap();
        (found.uid(), found.gid())
    }

    #[test]
    fn the_folder_of_clips_is_made_given_and_left_open() {
        if !process::geteuid().is_root() {
            return; // Only root can give anything away.
        }
        let folder = tempfile::tempdir().unwrap();
        let (clips, ours) = (folder.path().join("config/clips"), (APP_USER, APP_USER));
        assert!(share(&clips).is_ok() && !folder.path().join("config").exists(), "nothing was mapped");
        fs::create_dir(folder.path().join("config")).unwrap();
        for _ in 0..2 {
            assert!(share(&clips).is_ok());
            assert_eq!((owner(&clips), owner(&folder.path().join("config"))), (ours, (0, 0)));
            assert_eq!(fs::metadata(&clips).unwrap().permissions().mode() & 0o777, 0o755);
        }
        fs::write(clips.join("later.wav"), "").unwrap();
        assert_eq!(owner(&clips.join("later.wav")), (0, 0), "as it was put there");
        assert!(share(&clips).is_ok());
        assert_eq!(owner(&clips.join("later.wav")), ours);
    }

    #[test]
    fn a_link_in_the_place_of_the_clips_gives_nothing_away() {
        if !process::geteuid().is_root() {
            return; // Only root can give anything away.
        }
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("other")).unwrap();
        symlink(folder.path().join("other"), folder.path().join("clips")).unwrap();
        assert!(share(&folder.path().join("clips")).is_err());
        assert_eq!(owner(&folder.path().join("other")), (0, 0));
    }
}
