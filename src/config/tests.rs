//! What the command line and the environment may say.

use super::*;

#[test]
fn sizes_are_read_in_every_way_that_people_write_them() {
    for (text, bytes) in [
        ("0", 0),
        ("1048576", 1 << 20),
        ("512MiB", 512 << 20),
        ("2GiB", 2 << 30),
        ("2gib", 2 << 30),
        ("1.5GiB", 3 << 29),
        ("2 GB", 2_000_000_000),
        ("10kB", 10_000),
        ("7B", 7),
    ] {
        assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
    }
    for text in ["", "GiB", "-1", "1e9", "2GiBs", "1.2.3MiB", ".5GiB", "99999999999TiB", "1.0000000000GiB"] {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
}

#[test]
fn sizes_are_shown_as_they_are_written() {
    for text in ["2GiB", "512MiB", "1KiB", "7B", "0B"] {
        assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
    }
    assert_eq!(ByteSize(3 << 29).to_string(), "1.50GiB");
}

#[test]
fn addresses_without_a_host_are_loopback() {
    for (text, address) in [
        (":0", "127.0.0.1:0"),
        ("localhost:81", "127.0.0.1:81"),
        ("0.0.0.0:8080", "0.0.0.0:8080"),
        ("[::1]:9", "[::1]:9"),
    ] {
        assert_eq!(text.parse::<Listen>().unwrap().to_string(), address);
    }
    for text in ["", "8080", "localhost", "example.com:80", ":99999"] {
        assert!(text.parse::<Listen>().is_err(), "{text}");
    }
}

#[test]
fn what_is_not_given_follows_from_the_machine() {
    let settings = WorkerSettings { workers: 2, device: "cpu".into(), ..WorkerSettings::default() };
    let half = settings.allowance().unwrap();
    assert!(half.threads >= 1 && half.memory_bytes > 0);
    let given = WorkerSettings { threads: Some(3), memory_limit: Some(ByteSize(5)), ..settings.clone() };
    let given = given.allowance().unwrap();
    assert_eq!((given.threads, given.memory_bytes), (3, 5));
    let cuda = WorkerSettings { device: "cuda".into(), ..settings };
    assert!(matches!(cuda.allowance(), Err(SettingError::Device { .. })));
}

#[test]
fn a_small_part_of_the_disk_stays_free() {
    let here = std::env::temp_dir();
    let reserve = StateSettings::default().disk_reserve_bytes(&here);
    assert!(reserve > 0 && reserve <= MOST_RESERVE_BYTES, "{reserve}");
    let given = StateSettings { disk_reserve: Some(ByteSize(7)), ..StateSettings::default() };
    assert_eq!(given.disk_reserve_bytes(&here), 7);
}

#[test]
fn a_password_is_not_shown() {
    let settings =
        DatabaseSettings { database_url: Some("postgres://u:canary@h/d".into()), ..DatabaseSettings::default() };
    assert!(!format!("{settings:?}").contains("canary"));
}
