//! The framing, held against the `tar` crate, which read and wrote it in earlier versions.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use ::tar::{Archive, Builder, EntryType, Header};
use flate2::{Compression, GzBuilder};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

use super::{BLOCK, CHECKSUM, SIZE, write_end, write_file};
use crate::{
    document::{Entry, Tree},
    manifest::archive::{self, Unpacked},
};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// So many cases, unless `PROPTEST_CASES` asks for another number.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// What an archive holds: directories and the contents of files, each with its plain path.
type Held = BTreeMap<String, Option<Vec<u8>>>;

/// Reads an archive with the other reader, which leaves it to its caller to refuse things.
fn theirs(bytes: &[u8]) -> Result<Held, String> {
    let mut held = Held::new();
    for entry in Archive::new(bytes).entries().map_err(|e| e.to_string())? {
        let mut entry = entry.map_err(|e| e.to_string())?;
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        let path = String::from_utf8(entry.path_bytes().into_owned()).map_err(|e| e.to_string())?;
        let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let content = match entry.header().entry_type() {
            EntryType::Directory if parts.is_empty() => continue,
            EntryType::Directory => None,
            EntryType::Regular => {
                let mut content = Vec::new();
                io::Read::read_to_end(&mut entry, &mut content).map_err(|e| e.to_string())?;
                if content.len() as u64 != entry.size() {
                    return Err("cut".to_owned());
                }
                Some(content)
            }
            other => return Err(format!("{other:?}")),
        };
        if held.insert(parts.join("/"), content.clone()).is_some() && content.is_some() {
            return Err("twice".to_owned());
        }
    }
    Ok(held)
}

/// Leaves of what the other reader found what a tree shows: directories only where nothing else is in them, and one
/// around all of it taken off.
fn shown(mut held: Held, wrapped: bool) -> Held {
    if wrapped {
        let file = held.iter().find_map(|(path, content)| content.as_ref().map(|_| path.clone())).unwrap();
        let top = &file[..=file.find('/').unwrap()];
        held = held
            .into_iter()
            .filter_map(|(path, content)| Some((path.strip_prefix(top)?.to_owned(), content)))
            .collect();
    }
    let files: Vec<String> =
        held.iter().filter(|(_, content)| content.is_some()).map(|(path, _)| path.clone()).collect();
    held.retain(|path, content| {
        content.is_some() || !files.iter().any(|file| file.starts_with(&format!("{path}/")))
    });
    held
}

fn ours(unpacked: &Unpacked) -> Held {
    let content = |entry: &Entry| match entry {
        Entry::File(content) => Some(content.to_vec()),
        _ => None,
    };
    unpacked.tree.iter().map(|(path, entry)| (path.to_owned(), content(entry))).collect()
}

/// One entry as another program might write it.
#[derive(Clone, Debug)]
struct Planned {
    path: String,
    directory: bool,
    content: Vec<u8>,
    format: usize,
    pax: usize,
}

fn planned() -> impl Strategy<Value = Planned> {
    let name = prop_oneof![
        4 => "[a-z]{1,8}(\\.toml)?",
        1 => "[a-zé€😀 _-]{1,12}",
        1 => "[a-z]{80,130}",
        1 => "é{45,60}",
    ];
    let path = prop_oneof![
        6 => (select(&["flags", "segments", "x", "./flags", "deep/er"][..]), name.clone())
            .prop_map(|(folder, name)| format!("{folder}/{name}")),
        1 => name,
    ];
    let content = prop_oneof![
        3 => vec(any::<u8>(), 0..40),
        1 => select(&[511, 512, 513, 1024][..]).prop_map(|size| vec![b'#'; size]),
        1 => Just(vec![0; 1024]),
    ];
    (path, prop::bool::weighted(0.2), content, 0..3_usize, 0..6_usize)
        .prop_map(|(path, directory, content, format, pax)| Planned { path, directory, content, format, pax })
}

fn written(entries: &[Planned], global: bool) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    if global {
        let comment = b"52 comment=0123456789abcdef0123456789abcdef01234567\n";
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XGlobalHeader);
        header.set_size(comment.len() as u64);
        builder.append_data(&mut header, "pax_global_header", &comment[..]).unwrap();
    }
    for entry in entries {
        let mut header = match entry.format {
            0 => Header::new_ustar(),
            1 => Header::new_gnu(),
            _ => Header::new_old(),
        };
        let content: &[u8] = if entry.directory { b"" } else { &entry.content };
        header.set_entry_type(if entry.directory { EntryType::Directory } else { EntryType::Regular });
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_uid(1000);
        header.set_mtime(1_700_000_000);
        let mut path = entry.path.clone();
        // Two extensions that name one entry are refused here, so only short paths are renamed.
        if entry.pax < 2 && path.len() < 100 {
            let renamed = format!("{path}-pax");
            let pairs: &[(&str, &[u8])] =
                &[("mtime", b"1.5"), ("path", renamed.as_bytes()), ("comment", b"a=b")];
            builder.append_pax_extensions(pairs[entry.pax..].iter().copied()).unwrap();
        } else if entry.pax == 2 && path.len() < 100 {
            builder.append_pax_extensions([("mtime", &b"1.5"[..]), ("comment", b"")]).unwrap();
        }
        if entry.directory {
            path.push('/');
        }
        builder.append_data(&mut header, path, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Writes the right checksum into every block that stands where a header is read.
fn mend(tar: &mut [u8]) {
    let mut at = 0;
    while let Some(block) = tar.get_mut(at..at + BLOCK) {
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        if block.iter().any(|byte| *byte != 0) {
            header.set_cksum();
            block[CHECKSUM].copy_from_slice(&header.as_bytes()[CHECKSUM]);
        }
        let size = usize::try_from(header.entry_size().unwrap_or(0)).unwrap_or(usize::MAX).min(1 << 20);
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn what_is_written_has_the_bytes_of_earlier_versions(
        files in vec(
            (
                prop_oneof![2 => "(flags|segments)/[a-z]{1,20}", 2 => "(flags|segments)/[a-zé€😀]{20,300}", 1 => "flags/[é€]{20,60}",
                    1 => "flags/[a-z]{88,104}", 1 => "segments/[a-z]{85,104}", 1 => "[a-z.]{1,14}toml"],
                vec(any::<u8>(), 0..1500),
            ),
            0..6,
        ),
    ) {
        let mut ours = Vec::new();
        let mut theirs = Builder::new(Vec::new());
        for (path, content) in &files {
            write_file(&mut ours, path, content).unwrap();
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_size(content.len() as u64);
            theirs.append_data(&mut header, path, &content[..]).unwrap();
        }
        write_end(&mut ours).unwrap();

        prop_assert_eq!(ours, theirs.into_inner().unwrap());
    }

    #[test]
    fn what_others_write_is_read_as_they_read_it(entries in vec(planned(), 0..8), global in any::<bool>()) {
        let bytes = written(&entries, global);

        match (archive::unpack(&gzip(&bytes)), theirs(&bytes)) {
            (Ok(unpacked), Ok(held)) => prop_assert_eq!(ours(&unpacked), shown(held, unpacked.wrapped)),
            // A path that is there twice, or as a file and a directory.
            (Err(error), _) => prop_assert!(
                error.chain().contains("twice") || error.chain().contains("a file and a directory"),
                "{}", error.chain()
            ),
            (Ok(_), Err(reason)) => prop_assert!(false, "only read here: {reason}"),
        }
    }
}

/// A change of some bytes.
#[derive(Clone, Debug)]
enum Change {
    Byte(Index, u8),
    /// In a header, where most bytes mean something.
    Field(Index, Index, u8),
    Cut(Index),
    Drop(Index),
    Double(Index),
    Swap(Index, Index),
    Size(Index, Vec<u8>),
    Type(Index, u8),
    Text(Index, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    let odd = select(&b"\0 0127089/.\\LxgKS\x80\xff=\n"[..]);
    prop_oneof![
        1 => (index(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        3 => (index(), index(), odd).prop_map(|(block, at, byte)| Change::Field(block, at, byte)),
        1 => index().prop_map(Change::Cut),
        1 => index().prop_map(Change::Drop),
        1 => index().prop_map(Change::Double),
        1 => (index(), index()).prop_map(|(one, other)| Change::Swap(one, other)),
        2 => (index(), prop_oneof![
            "[0-7 ]{1,12}".prop_map(String::into_bytes),
            "0{9}[0-7]{3}".prop_map(String::into_bytes),
            vec(any::<u8>(), 12),
            (0..2000_u16).prop_map(|size| [&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &size.to_be_bytes()].concat()),
            Just(vec![0xff; 12]),
            Just(b"+0000000012\0".to_vec()),
        ]).prop_map(|(block, size)| Change::Size(block, size)),
        2 => (index(), select(&b"\x0005xgLKS12347A"[..])).prop_map(|(block, kind)| Change::Type(block, kind)),
        1 => (index(), select(&["11 path=ab\n", "10 path=a\n", "6 a=b\n", "12 path=a\nb\n", "9 size=1\n", "path=x\n", "\n", "x\0y\0"][..]))
            .prop_map(|(block, text)| Change::Text(block, text.as_bytes().to_vec())),
    ]
}

fn changed(mut bytes: Vec<u8>, change: &Change) -> Vec<u8> {
    if bytes.len() < BLOCK {
        return bytes;
    }
    let blocks = bytes.len() / BLOCK;
    let start = |index: &Index| index.index(blocks) * BLOCK;
    match change {
        Change::Byte(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Change::Field(block, at, byte) => bytes[start(block) + at.index(BLOCK)] = *byte,
        Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Change::Drop(block) => drop(bytes.drain(start(block)..start(block) + BLOCK)),
        Change::Double(block) => {
            let block = bytes[start(block)..start(block) + BLOCK].to_vec();
            bytes.splice(0..0, block);
        }
        Change::Swap(one, other) => {
            for at in 0..BLOCK {
                bytes.swap(start(one) + at, start(other) + at);
            }
        }
        Change::Size(block, size) => {
            let at = start(block) + SIZE.start;
            bytes[at..at + size.len()].copy_from_slice(size);
        }
        Change::Type(block, kind) => bytes[start(block) + super::TYPE] = *kind,
        Change::Text(block, text) => {
            let at = start(block);
            bytes[at..at + text.len()].copy_from_slice(text);
        }
    }
    bytes
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn a_damaged_archive_is_refused_or_read_as_others_read_it(
        entries in vec(planned(), 0..5),
        global in any::<bool>(),
        changes in vec(change(), 1..5),
        mended in prop::bool::weighted(0.8),
    ) {
        let mut bytes = changes.iter().fold(written(&entries, global), changed);
        if mended {
            mend(&mut bytes);
        }

        if let Ok(unpacked) = archive::unpack(&gzip(&bytes)) {
            match theirs(&bytes) {
                Ok(held) => prop_assert_eq!(ours(&unpacked), shown(held, unpacked.wrapped)),
                Err(reason) => prop_assert!(false, "only read here: {reason}"),
            }
        }
    }
}

#[test]
fn an_archive_is_refused_at_every_length_but_the_whole() {
    let entries: Vec<Planned> = (0..6)
        .map(|i| Planned {
            path: format!("flags/{}", "k".repeat(1 + i * 40)),
            directory: i == 3,
            content: vec![b'#'; i * 300],
            format: i % 3,
            pax: i,
        })
        .collect();
    let bytes = written(&entries, true);
    archive::unpack(&gzip(&bytes)).unwrap();

    // Of the two blocks at the end, one is enough of a mark.
    for end in 0..bytes.len() - BLOCK {
        assert!(archive::unpack(&gzip(&bytes[..end])).is_err(), "{end} of {} bytes", bytes.len());
    }
}

/// A tar of one file, its header changed and the checksum written as asked.
fn one_file(change: impl Fn(&mut [u8]), sum: impl Fn(&[u8; BLOCK]) -> String) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_file(&mut bytes, "flags/a.toml", b"0123456789").unwrap();
    write_end(&mut bytes).unwrap();
    change(&mut bytes[..BLOCK]);
    let sum = sum(bytes[..BLOCK].try_into().unwrap());
    bytes[CHECKSUM].fill(0);
    bytes[CHECKSUM.start..CHECKSUM.start + sum.len()].copy_from_slice(sum.as_bytes());
    gzip(&bytes)
}

fn unsigned(block: &[u8; BLOCK]) -> String {
    format!("{:06o}\0 ", super::unsigned_sum(block))
}

#[test]
fn checksums_are_counted_with_and_without_sign() {
    let owner =
        |header: &mut [u8]| header[265..268].copy_from_slice("é€".as_bytes()[..3].try_into().unwrap());
    let signed = |block: &[u8; BLOCK]| format!("{:o}", super::signed_sum(block));

    assert!(archive::unpack(&one_file(owner, unsigned)).is_ok());
    assert!(archive::unpack(&one_file(owner, signed)).is_ok());
    assert!(
        archive::unpack(&one_file(|_| {}, |block| format!("{:>7o}", super::unsigned_sum(block)))).is_ok()
    );
    for wrong in ["", " ", "+12345", "0", "9", "7777777"] {
        assert!(archive::unpack(&one_file(owner, |_| wrong.to_owned())).is_err(), "{wrong:?}");
    }
}

#[test]
fn prefixes_are_read_where_the_format_has_them() {
    let prefixed = |magic: &'static [u8; 8]| {
        let change = move |header: &mut [u8]| {
            header[super::MAGIC].copy_from_slice(magic);
            header[super::PREFIX][..5].copy_from_slice(b"12345");
        };
        let unpacked = archive::unpack(&one_file(change, unsigned)).unwrap();
        (unpacked.wrapped, unpacked.tree.iter().count())
    };

    assert_eq!(prefixed(super::USTAR), (true, 1));
    // GNU tar has times there, and the oldest format nothing that counts.
    assert_eq!(prefixed(super::GNU), (false, 1));
    assert_eq!(prefixed(b"\0\0\0\0\0\0\0\0"), (false, 1));
}

#[test]
fn sizes_are_octal_or_binary_and_nothing_else() {
    let sized =
        |size: [u8; 12]| archive::unpack(&one_file(|header| header[SIZE].copy_from_slice(&size), unsigned));

    for size in [
        b"00000000012\0",
        b"000000000012",
        b"         12 ",
        b"12 \0xxxxxxxx",
        b"\x80\0\0\0\0\0\0\0\0\0\0\x0a",
    ] {
        assert!(sized(*size).is_ok(), "{size:?}");
    }
    for size in [
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
        b"+0000000012\0",
        b"-0000000012\0",
        b"0000000001a\0",
        b"00000000018\0",
        b"00000 00012\0",
        b"\x80\0\0\x01\0\0\0\0\0\0\0\x0a",
        b"\x81\0\0\0\0\0\0\0\0\0\0\x0a",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf6",
        b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert!(sized(*size).is_err(), "{size:?}");
    }
}

#[test]
fn extension_records_go_by_their_length() {
    let read = |text: &'static str| super::records(text.as_bytes()).map(|records| records.len()).ok();

    assert_eq!(read(""), Some(0));
    assert_eq!(read("6 a=b\n"), Some(1));
    assert_eq!(read("6 a=b\n13 path=a=b c\n"), None);
    assert_eq!(read("6 a=b\n14 path=a=b c\n"), Some(2));
    for bad in [
        "6 a=b",
        "7 a=b\n",
        "5 a=b\n",
        "6 a:b\n",
        " a=b\n",
        "+6 a=b\n",
        "9 a=b\nc\n",
        "2 \n",
        "0 a=b\n",
        "6",
        "\n",
    ] {
        assert_eq!(read(bad), None, "{bad:?}");
    }
    assert_eq!(read("99999999999999999999 a=b\n"), None);
}

#[test]
fn packing_long_names_is_undone_by_unpacking() {
    let tree: Tree = [1, 85, 88, 89, 90, 94, 95, 96, 100, 150, 240]
        .map(|length| (format!("flags/{}.toml", "k".repeat(length)), "x = 1"))
        .into_iter()
        .collect();

    assert_eq!(archive::unpack(&archive::pack(&tree).unwrap()).unwrap().tree, tree);
}
