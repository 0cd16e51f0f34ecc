//! In the app the program begins as root, because the Supervisor makes /data as root. It gives that folder to a user of
//! its own and becomes that user for good, before anything else runs: what comes from cameras, clouds and browsers is
//! never read as root (requirement S24).

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process;
use rustix::thread::{self, CapabilitySet, CapabilitySets, Gid, Uid};

/// User and group of the app, both; what is kept in /data is theirs. A number without a name: the image has no
/// list of users.
pub const APP_USER: u32 = 10_001;

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

/// Gives `data` to [`APP_USER`] and becomes that user, who has no capability and can get none. Nothing happens to
/// whoever is not root.
///
/// A folder that cannot be given away is warned of: the service then lasts as long as its memory, which the store says
/// as well. Root that cannot be given up is an error, since a doorbell that is down is the smaller harm.
///
/// # Errors
/// [`StillRoot`]; also when a second thread runs, which would stay root.
pub fn give_up_root(data: Option<&Path>) -> Result<(), StillRoot> {
    if !process::geteuid().is_root() {
        return Ok(());
    }
    if let Some(data) = data
        && let Err(Kept { path, why }) = give_away(data)
    {
        tracing::warn!(path = %path.display(), %why, "this cannot be given to the app's user; what is there may stay unread");
    }
    become_the_app().map_err(|(step, why)| StillRoot { step, why })
}

/// What stayed root's.
struct Kept {
    path: PathBuf,
    why: io::Error,
}

fn give_away(folder: &Path) -> Result<(), Kept> {
    let opened = rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    match opened {
        // Whoever needs it makes it, and is the app's user by then.
        Err(Errno::NOENT) => Ok(()),
        Err(why) => Err(Kept { path: folder.to_owned(), why: why.into() }),
        Ok(opened) => give_entries(&opened, folder, DEEPEST).and_then(|()| {
            let (user, group) = app();
            rustix::fs::fchown(&opened, Some(user), Some(group))
                .map_err(|why| Kept { path: folder.to_owned(), why: why.into() })
        }),
    }
}

/// Walks by open folders and follows no link, so that a link left in there gives away nothing else.
fn give_entries(folder: impl std::os::fd::AsFd, path: &Path, deeper: usize) -> Result<(), Kept> {
    let folder = folder.as_fd();
    let kept = |path: &Path, why: Errno| Kept { path: path.to_owned(), why: why.into() };
    let (user, group) = app();
    for entry in Dir::read_from(folder).map_err(|why| kept(path, why))? {
        let entry = entry.map_err(|why| kept(path, why))?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let inside = path.join(String::from_utf8_lossy(name.to_bytes()).as_ref());
        rustix::fs::chownat(folder, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|why| kept(&inside, why))?;
        if entry.file_type() == FileType::Directory {
            let next = deeper.checked_sub(1).ok_or_else(|| kept(&inside, Errno::LOOP))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(|why| kept(&inside, why))?;
            give_entries(&opened, &inside, next)?;
        }
    }
    Ok(())
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
