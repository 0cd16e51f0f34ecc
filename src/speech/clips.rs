//! The folder of clips: which files of it are clips, how long they last, and how one is put there or taken away.
//!
//! What is in there comes from the owner's other programs as well. A file is looked into when its size or its time has
//! changed; what cannot be played is told of once.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use tokio::sync::watch;

use super::lately::Lately;
use crate::doorbell::voice::{Clips, NotKept, Source, Unspoken};
use crate::media::Recording;
use crate::model::ClipName;

/// The endings of files that are looked into.
const ENDINGS: [&str; 7] = ["wav", "mp3", "ogg", "opus", "flac", "aac", "m4a"];
/// A select of Home Assistant becomes no more useful by more.
const MOST: usize = 64;
const LONGEST_NAME: usize = 40;
/// Entries of the folder that are looked at, so that somebody else's folder costs little.
const ENTRIES: usize = 1_000;

/// The folder. Everything but [`Folder::clips`] waits for the disk, and so is not for tasks of the runtime.
pub(super) struct Folder {
    path: PathBuf,
    known: Mutex<Known>,
    /// What can be played now. Held for moments only, unlike `known`.
    playable: Mutex<BTreeMap<ClipName, Clip>>,
    clips: watch::Sender<Clips>,
    lately: Lately<Clip>,
}

/// What earlier looks have found out.
#[derive(Default)]
struct Known {
    sounds: BTreeMap<Clip, Result<Duration, String>>,
    told: BTreeSet<Complaint>,
}

/// A file as it was at one time. Another size or time is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Clip {
    path: PathBuf,
    bytes: u64,
    changed: Option<SystemTime>,
}

/// Why a file is no clip.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Complaint {
    pub(super) file: OsString,
    pub(super) why: String,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        let (clips, lately) = (watch::channel(Clips::new()).0, Lately::new());
        Self { path, known: Mutex::default(), playable: Mutex::default(), clips, lately }
    }

    pub(super) fn clips(&self) -> watch::Receiver<Clips> {
        self.clips.subscribe()
    }

    /// Looks what is there now. What it has to complain of for the first time.
    pub(super) fn look(&self) -> Vec<Complaint> {
        let mut known = locked(&self.known);
        let complaints = self.look_with(&mut known);
        let before = std::mem::replace(&mut known.told, complaints.clone());
        complaints.into_iter().filter(|complaint| !before.contains(complaint)).collect()
    }

    /// The sound of the clip.
    pub(super) fn sound(&self, name: &ClipName) -> Result<Recording, Unspoken> {
        let known = locked(&self.playable).get(name).cloned();
        let Some(clip) = known else { return Err(self.unknown(name)) };
        if let Some(recording) = self.lately.get(&clip) {
            return Ok(recording);
        }
        let read = recording(&clip.path);
        let recording =
            read.map_err(|why| Unspoken::Unusable(format!("The clip `{name}` cannot be played: {why}.")))?;
        self.lately.keep(clip, &recording);
        Ok(recording)
    }

    fn unknown(&self, name: &ClipName) -> Unspoken {
        let there: Vec<String> = self.clips.borrow().keys().map(|name| format!("`{name}`")).collect();
        let there = match there.len() {
            0 => "There are none yet: put files of sound into the folder of clips.".to_owned(),
            _ => format!("There are {}.", there.join(", ")),
        };
        Unspoken::Unusable(format!("There is no clip `{name}`. {there}"))
    }

    /// Keeps `file` under this name and under no other ending. It is there when this returns.
    pub(super) fn keep(&self, name: &ClipName, file: &[u8]) -> Result<(), NotKept> {
        if file.len() > Source::LARGEST_FILE {
            let most = Source::LARGEST_FILE >> 20;
            return Err(NotKept::Unusable(format!("The file has more than {most} MiB, so it is not kept as a clip.")));
        }
        let read = Recording::read(file, Source::LONGEST_SOUND);
        read.map_err(|why| NotKept::Unusable(format!("The file cannot be kept as a clip: {why}.")))?;
        let mut known = locked(&self.known);
        self.look_with(&mut known);
        let is_one_too_many = |clips: &Clips| clips.len() >= MOST && !clips.contains_key(name);
        if is_one_too_many(&self.clips.borrow()) {
            return Err(NotKept::Full(format!("There are {MOST} clips already. Remove one first.")));
        }
        let place = format!("{name}.{}", ending_of(file));
        self.write(name, &place, file).map_err(not_written)?;
        let mut others = self.named(name).into_iter().filter(|other| *other != *place);
        let removed = others.try_for_each(|other| fs::remove_file(self.path.join(other)));
        self.look_with(&mut known);
        removed.map_err(not_written)
    }

    /// Whole or not at all, whenever the power fails.
    fn write(&self, name: &ClipName, place: &str, file: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        // Hidden, so that no look takes it for a clip.
        let next = self.path.join(format!(".{name}.next"));
        // One that was left over, or that somebody else has put there: a link would lead the file to elsewhere, and a
        // pipe keep it for ever.
        let _none_is_as_good = fs::remove_file(&next);
        let written = File::create_new(&next).and_then(|mut next| {
            next.write_all(file)?;
            next.sync_all()
        });
        let written = written.and_then(|()| fs::rename(&next, self.path.join(place)));
        if written.is_err() {
            let _gone_at_the_next_try = fs::remove_file(&next);
        }
        written
    }

    /// Takes away every file of this name. Whether there was one.
    pub(super) fn remove(&self, name: &ClipName) -> Result<bool, NotKept> {
        let mut known = locked(&self.known);
        let files = self.named(name);
        let removed = files.iter().try_for_each(|file| fs::remove_file(self.path.join(file)));
        self.look_with(&mut known);
        removed.map_err(not_written)?;
        Ok(!files.is_empty())
    }

    /// The files that have this name, whether they are clips or not.
    fn named(&self, name: &ClipName) -> Vec<OsString> {
        let entries = entries(&self.path).unwrap_or_default();
        entries.into_iter().filter(|file| matches!(named(file), Named::Clip(own) if own == *name)).collect()
    }

    fn look_with(&self, known: &mut Known) -> BTreeSet<Complaint> {
        let mut complaints = BTreeSet::new();
        let found = candidates(&self.path, &mut complaints);
        let before = std::mem::take(&mut known.sounds);
        let (mut clips, mut playable) = (Clips::new(), BTreeMap::new());
        for (name, clip) in found {
            let earlier = before.get(&clip);
            let sound = earlier.cloned().unwrap_or_else(|| recording(&clip.path).map(|sound| sound.duration()));
            match &sound {
                Ok(duration) => {
                    clips.insert(name.clone(), *duration);
                    playable.insert(name, clip.clone());
                }
                // Not at once: it may still be on its way here.
                Err(why) if earlier.is_some() => drop(complaints.insert(Complaint::of(&clip.path, why))),
                Err(_) => {}
            }
            known.sounds.insert(clip, sound);
        }
        *locked(&self.playable) = playable;
        self.clips.send_if_modified(|told| {
            let is_new = *told != clips;
            *told = clips;
            is_new
        });
        complaints
    }
}

impl Complaint {
    fn of(path: &Path, why: &str) -> Self {
        Self { file: path.file_name().unwrap_or_default().to_owned(), why: why.to_owned() }
    }
}

/// The files that may be clips, each name once, the first of several.
fn candidates(folder: &Path, complaints: &mut BTreeSet<Complaint>) -> BTreeMap<ClipName, Clip> {
    let mut found = BTreeMap::new();
    let entries = entries(folder).unwrap_or_else(|error| {
        complaints.insert(Complaint::of(folder, &error.to_string()));
        Vec::new()
    });
    let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    for file in entries {
        let outcome = match named(&file) {
            Named::No => continue,
            Named::Unsayable => Err("there is no letter a to z and no digit in its name".to_owned()),
            Named::Clip(name) if found.contains_key(&name) => Err(format!("another file is the clip `{name}` already")),
            Named::Clip(_) if found.len() >= MOST => Err(format!("there are {MOST} clips already")),
            Named::Clip(name) => clip(&real, &file).map(|clip| (name, clip)),
        };
        match outcome {
            Ok((name, clip)) => drop(found.insert(name, clip)),
            Err(why) => drop(complaints.insert(Complaint { file, why })),
        }
    }
    found
}

/// What is in the folder, in the order of its names, those first that are a clip's already: one that was kept gives way
/// to no other. A folder that is not there is empty.
fn entries(folder: &Path) -> io::Result<Vec<OsString>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files: Vec<OsString> = entries.take(ENTRIES).map_while(Result::ok).map(|entry| entry.file_name()).collect();
    let is_clips = |file: &OsString| {
        Path::new(file).file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| ClipName::parse(stem).is_ok())
    };
    files.sort_by_cached_key(|file| (!is_clips(file), file.clone()));
    Ok(files)
}

/// What a file's name says.
enum Named {
    /// That it is none of ours.
    No,
    /// That it is sound, and no clip can be named after it.
    Unsayable,
    Clip(ClipName),
}

/// `Back door.mp3` → `back_door`.
fn named(file: &OsString) -> Named {
    let (stem, ending) = match file.to_string_lossy().rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() => (stem.to_lowercase(), ending.to_lowercase()),
        _ => return Named::No,
    };
    if stem.starts_with('.') || !ENDINGS.contains(&&*ending) {
        return Named::No;
    }
    let words = stem.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let mut name = words.collect::<Vec<_>>().join("_");
    name.truncate(LONGEST_NAME);
    ClipName::parse(&name).map_or(Named::Unsayable, Named::Clip)
}

/// The file itself. A link counts as what it leads to, unless that is outside of the folder.
fn clip(folder: &Path, file: &OsString) -> Result<Clip, String> {
    let unreadable = |error: io::Error| error.to_string();
    let path = fs::canonicalize(folder.join(file)).map_err(unreadable)?;
    if !path.starts_with(folder) {
        return Err("it is a link that leads out of the folder".to_owned());
    }
    let found = fs::symlink_metadata(&path).map_err(unreadable)?;
    ordinary(&found)?;
    Ok(Clip { path, bytes: found.len(), changed: found.modified().ok() })
}

fn ordinary(found: &Metadata) -> Result<(), String> {
    match found.len() {
        _ if !found.is_file() => Err("it is no ordinary file".to_owned()),
        bytes if bytes > Source::LARGEST_FILE as u64 => {
            Err(format!("it has more than {} MiB", Source::LARGEST_FILE >> 20))
        }
        _ => Ok(()),
    }
}

/// Decodes a file that has been looked at. Whatever took its place meanwhile is neither followed nor waited for.
fn recording(path: &Path) -> Result<Recording, String> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = opened.map_err(|error| error.to_string())?;
    ordinary(&file.metadata().map_err(|error| error.to_string())?)?;
    let mut bytes = Vec::new();
    file.take(Source::LARGEST_FILE as u64).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Recording::read(&bytes, Source::LONGEST_SOUND).map_err(|why| why.to_string())
}

/// The usual ending of a file of sound, by how it begins.
fn ending_of(file: &[u8]) -> &'static str {
    match file {
        [b'R', b'I', b'F', b'F', ..] => "wav",
        [b'f', b'L', b'a', b'C', ..] => "flac",
        [b'O', b'g', b'g', b'S', ..] => "ogg",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "m4a",
        // ADTS has layer 0, which MPEG audio never has.
        [0xff, second, ..] if second & 0xf6 == 0xf0 => "aac",
        _ => "mp3",
    }
}

fn not_written(error: io::Error) -> NotKept {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            NotKept::Full("There is no room on the disk for another clip.".to_owned())
        }
        _ => NotKept::Unwritable(format!("The folder of clips cannot be changed: {error}.")),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(file: &str) -> Option<String> {
        match named(&file.into()) {
            Named::Clip(name) => Some(name.to_string()),
            Named::Unsayable => Some("?".to_owned()),
            Named::No => None,
        }
    }

    #[test]
    fn a_file_gives_its_clip_a_name_that_can_be_said() {
        for (file, name) in [
            ("Back door.mp3", Some("back_door")),
            ("back_door.WAV", Some("back_door")),
            ("a.b - c!.ogg", Some("a_b_c")),
            ("Tür 2.flac", Some("t_r_2")),
            ("../../etc.wav", None),
            ("!!!.wav", Some("?")),
            ("notes.txt", None),
            (".next.wav", None),
            (".wav", None),
            ("wav", None),
        ] {
            assert_eq!(name_of(file).as_deref(), name, "{file}");
        }
        assert_eq!(name_of(&format!("{}.mp3", "a".repeat(99))), Some("a".repeat(LONGEST_NAME)));
    }

    #[test]
    fn a_file_is_kept_with_the_ending_of_what_it_is() {
        for (file, ending) in [
            (&b"RIFF\x24\0\0\0WAVE"[..], "wav"),
            (b"fLaC", "flac"),
            (b"OggS", "ogg"),
            (b"\0\0\0\x20ftypM4A ", "m4a"),
            (b"\xff\xf1\x50\x80", "aac"),
            (b"\xff\xfb\x90\x64", "mp3"),
            (b"ID3\x04", "mp3"),
        ] {
            assert_eq!(ending_of(file), ending);
        }
    }
}
