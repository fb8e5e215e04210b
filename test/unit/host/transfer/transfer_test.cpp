// Trees between the host and a guest: there and back, as directories and as tars, and hostile ones.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <fstream>

#include "host/transfer/directory_sink.hpp"
#include "host/transfer/guest_path.hpp"
#include "host/transfer/tar_sink.hpp"
#include "host/transfer/upload.hpp"
#include "unit/host/image/ext4_fixtures.hpp"
#include "unit/host/session/file_agents.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace microvm::test;
namespace fs = std::filesystem;

namespace {

constexpr auto kDirectory = microvm_agent_FileEntry_Type_DIRECTORY;
constexpr auto kSymlink = microvm_agent_FileEntry_Type_SYMLINK;
constexpr auto kRegular = microvm_agent_FileEntry_Type_REGULAR;

template <class T>
ErrorCode code_of(const Result<T>& result) {
  return result ? ErrorCode{} : result.error().code;
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct stat status_of(const fs::path& path) {
  struct stat status{};
  ::lstat(path.c_str(), &status);
  return status;
}

size_t count(const fs::path& directory) {
  return static_cast<size_t>(std::distance(fs::recursive_directory_iterator(directory), {}));
}

FileChange new_change() {
  auto change = FileChange::make();
  REQUIRE(change);
  return *change;
}

Result<TransferTotals> upload_tree(const std::shared_ptr<LocalLink>& link, const fs::path& path,
                                   const std::string& directory, const UploadOptions& options,
                                   const Limits& limits) {
  FileChange change = new_change();
  return host::upload_tree(link, path, directory, options, limits, change);
}

Result<TransferTotals> upload_tar(const std::shared_ptr<LocalLink>& link, const DataSource& tar,
                                  const std::string& directory, const UploadOptions& options,
                                  const Limits& limits) {
  FileChange change = new_change();
  return host::upload_tar(link, tar, directory, options, limits, change);
}

UploadOptions mine() {
  UploadOptions options;
  options.uid = ::geteuid();
  options.gid = ::getegid();
  return options;
}

Result<TransferTotals> download(const std::shared_ptr<LocalLink>& link, const std::string& path,
                                const fs::path& directory, const std::string& name,
                                const DownloadOptions& options = {}) {
  auto sink = DirectorySink::open(directory, name, Owners::mine);
  if (!sink) return base::fail(sink.error());
  auto totals = get_tree(link, path, options, *sink, soon());
  if (!totals) return totals;
  if (auto done = sink->finish(); !done) return base::fail(done.error());
  return totals;
}

// The result of a guest that sends these entries, each regular file filled with 'x'.
Result<TransferTotals> download_entries(const std::vector<SentEntry>& entries,
                                        const fs::path& directory, const std::string& name,
                                        const DownloadOptions& options = {}) {
  Frames frames;
  for (const auto& entry : entries) {
    frames.push_back(entry_frame(entry));
    if (entry.type == kRegular && entry.size > 0)
      frames.push_back(data_frame(std::string(std::min<uint64_t>(entry.size, 1000), 'x')));
  }
  frames.push_back(ok_frame());
  return download(answering(std::move(frames)), "/any", directory, name, options);
}

// Outlived by `text`.
DataSource source_of(const std::string& text) {
  return [&text, at = size_t{0}](std::span<std::byte> out) mutable -> Result<size_t> {
    const size_t size = std::min(out.size(), text.size() - at);
    std::memcpy(out.data(), text.data() + at, size);
    at += size;
    return size;
  };
}

void make_tree(const fs::path& top) {
  fs::create_directories(top / "sub/empty");
  std::ofstream(top / "file") << "text";
  std::ofstream(top / "sub/large") << std::string(200'000, 'l');
  fs::create_symlink("../file", top / "sub/link");
  fs::create_symlink("/nowhere/at/all", top / "dangling");
  ::mkfifo((top / "fifo").c_str(), 0600);
  fs::permissions(top / "file", static_cast<fs::perms>(0751));
  fs::permissions(top / "sub", static_cast<fs::perms>(0711));
  const timespec times[2] = {{1'600'000'000, 500'000'000}, {1'600'000'000, 500'000'000}};
  ::utimensat(AT_FDCWD, (top / "file").c_str(), times, 0);
}

void check_tree(const fs::path& top) {
  CHECK(text_of(top / "file") == "text");
  CHECK(status_of(top / "file").st_mode == (S_IFREG | 0751));
  CHECK(status_of(top / "file").st_mtim.tv_sec == 1'600'000'000);
  CHECK(status_of(top / "file").st_mtim.tv_nsec == 500'000'000);
  CHECK(text_of(top / "sub/large") == std::string(200'000, 'l'));
  CHECK(status_of(top / "sub").st_mode == (S_IFDIR | 0711));
  CHECK(fs::is_directory(top / "sub/empty"));
  CHECK(fs::read_symlink(top / "sub/link") == "../file");
  CHECK(fs::read_symlink(top / "dangling") == "/nowhere/at/all");
  CHECK(count(top) == 6);
}

}  // namespace

TEST_SUITE("transfer") {
  TEST_CASE("a tree goes into a guest and comes back as it was") {
    FileAgent guest;
    const TempDir host;
    make_tree(host / "tree");
    const auto up = upload_tree(guest.link, host / "tree", "/in", mine(), soon());
    REQUIRE_MESSAGE(up, up.error().message);
    CHECK(up->entries == 7);
    CHECK(up->bytes == 200'004);
    CHECK(up->skipped == 1);
    check_tree(guest.root / "in/tree");
    ::mkfifo((guest.root / "in/tree/fifo").c_str(), 0600);
    const auto down = download(guest.link, "/in/tree", host.path(), "back");
    REQUIRE_MESSAGE(down, down.error().message);
    CHECK(down->entries == 7);
    CHECK(down->bytes == 200'004);
    CHECK(down->skipped == 1);
    check_tree(host / "back");
  }

  TEST_CASE("a tree comes out as a tar and goes in from it") {
    FileAgent from;
    make_tree(from.root / "tree");
    std::string tar;
    {
      const DataSink out = [&](std::span<const std::byte> piece) -> Result<void> {
        tar += wire::as_text(piece);
        return {};
      };
      TarSink sink(out, "name");
      REQUIRE(sink.open());
      REQUIRE(get_tree(from.link, "/tree", {}, sink, soon()));
      REQUIRE(sink.finish());
    }
    FileAgent to;
    size_t at = 0;
    const DataSource source = [&](std::span<std::byte> out) -> Result<size_t> {
      const size_t size = std::min({out.size(), tar.size() - at, size_t{1000}});
      std::memcpy(out.data(), tar.data() + at, size);
      at += size;
      return size;
    };
    const auto in = upload_tar(to.link, source, "/", mine(), soon());
    REQUIRE_MESSAGE(in, in.error().message);
    CHECK(in->entries == 7);
    check_tree(to.root / "name");
    // One that ends early, or is none.
    tar.resize(2000);
    at = 0;
    CHECK(code_of(upload_tar(to.link, source, "/cut", mine(), soon())) == ErrorCode::corrupt);
    tar = std::string(5000, 'x');
    at = 0;
    CHECK(code_of(upload_tar(to.link, source, "/cut", mine(), soon())) == ErrorCode::corrupt);
  }

  TEST_CASE("the sink's and the source's own errors come back") {
    FileAgent guest;
    guest.root.write("file", "x");
    const DataSink full = [](std::span<const std::byte>) -> Result<void> {
      return base::fail(ErrorCode::out_of_disk, "full");
    };
    TarSink sink(full, "x");
    REQUIRE(sink.open());
    auto result = get_tree(guest.link, "/file", {}, sink, soon());
    if (result) {
      const auto done = sink.finish();
      CHECK(code_of(done) == ErrorCode::out_of_disk);
    } else {
      CHECK(code_of(result) == ErrorCode::out_of_disk);
    }
    const DataSource broken = [](std::span<std::byte>) -> Result<size_t> {
      return base::fail(ErrorCode::cancelled, "stop");
    };
    CHECK(code_of(upload_tar(guest.link, broken, "/", mine(), soon())) == ErrorCode::cancelled);
  }

  TEST_CASE("only the content, a new name, a link followed") {
    FileAgent guest;
    guest.root.write("dir/file", "x");
    fs::create_symlink("dir", guest.root / "link");
    const TempDir host;
    CHECK(download(guest.link, "/dir", host.path(), "."));
    CHECK(text_of(host / "file") == "x");
    CHECK(download(guest.link, "/link", host.path(), "as-link"));
    CHECK(fs::is_symlink(host / "as-link"));
    CHECK(download(guest.link, "/link", host.path(), "as-dir", {.follow_link = true}));
    CHECK(text_of(host / "as-dir/file") == "x");
    CHECK(code_of(download(guest.link, "/dir/file", host.path(), ".")) ==
          ErrorCode::invalid_argument);
    CHECK(code_of(download(guest.link, "/none", host.path(), "n")) == ErrorCode::not_found);
    auto options = mine();
    options.name = ".";
    CHECK(upload_tree(guest.link, host / "as-dir", "/dir/new", options, soon()));
    CHECK(guest.root.read("dir/new/file") == "x");
    options.name = "a/b";
    CHECK(code_of(upload_tree(guest.link, host / "file", "/dir", options, soon())) ==
          ErrorCode::invalid_argument);
    CHECK(code_of(upload_tree(guest.link, host / "none", "/dir", mine(), soon())) ==
          ErrorCode::not_found);
  }

  TEST_CASE("a hostile tar puts nothing outside of its directory") {
    const std::string paths[] = {"..", "../x", "a/../../x", "a/..", "./../x", "/../x", "a//../x"};
    for (const std::string& path : paths) {
      for (const bool as_link_target : {false, true}) {
        CAPTURE(path);
        CAPTURE(as_link_target);
        FileAgent guest;
        guest.root.write("d/kept", "before");
        const TempDir host;
        TarMaker tar(host / "tar");
        tar.file("ok", "x");
        if (as_link_target) tar.hard_link("link", path);
        if (!as_link_target) tar.file(path, "out");
        std::string text = text_of(tar.done());
        CHECK(code_of(upload_tar(guest.link, source_of(text), "/d", mine(), soon())) ==
              ErrorCode::corrupt);
        CHECK_FALSE(fs::exists(guest.root / "x"));
        CHECK_FALSE(fs::exists(guest.root / "d/x"));
        CHECK_FALSE(fs::exists(guest.root / "d/link"));
        CHECK(guest.root.read("d/kept") == "before");
      }
    }
  }

  TEST_CASE("the name of a tree's top is one name") {
    const std::string not_names[] = {
        "..", "a/b", "/a", "a/", "../a", std::string("a\0b", 3), std::string(256, 'n')};
    for (const std::string& asked : not_names) {
      CAPTURE(asked);
      CHECK(code_of(top_name(asked, "/dir/tree")) == ErrorCode::invalid_argument);
    }
    for (const char* path : {"..", "/a/..", "/a/../", "../.."}) {
      CAPTURE(path);
      CHECK(code_of(top_name("", path)) == ErrorCode::invalid_argument);
    }
    CHECK(*top_name("", "/dir/tree//") == "tree");
    CHECK(*top_name("", "tree") == "tree");
    CHECK(*top_name("other", "/a/..") == "other");
    CHECK(*top_name("...", "/dir") == "...");
    CHECK(*top_name("", "/") == kOnlyContent);
    CHECK(*top_name(".", "/dir") == kOnlyContent);
    // Nothing of it is in the guest then.
    FileAgent guest;
    const TempDir host;
    make_tree(host / "tree");
    auto options = mine();
    options.name = "..";
    fs::create_directory(guest.root / "d");
    CHECK(code_of(upload_tree(guest.link, host / "tree", "/d", options, soon())) ==
          ErrorCode::invalid_argument);
    CHECK(count(guest.root / ".") == 1);
  }

  TEST_CASE("hard links of a tar share one file") {
    FileAgent guest;
    std::string tar;
    std::unique_ptr<archive, ArchiveWriteFree> writer(archive_write_new());
    tar.resize(100'000);
    size_t used = 0;
    archive_write_set_format_ustar(writer.get());
    archive_write_open_memory(writer.get(), tar.data(), tar.size(), &used);
    for (const char* target : {"", "./one"}) {
      archive_entry* entry = archive_entry_new();
      const bool is_link = *target != '\0';
      archive_entry_set_pathname(entry, is_link ? "two" : "./one");
      archive_entry_set_filetype(entry, AE_IFREG);
      archive_entry_set_perm(entry, 0644);
      archive_entry_set_size(entry, is_link ? 0 : 3);
      if (is_link) archive_entry_set_hardlink(entry, target);
      archive_write_header(writer.get(), entry);
      if (!is_link) archive_write_data(writer.get(), "abc", 3);
      archive_entry_free(entry);
    }
    archive_write_close(writer.get());
    tar.resize(used);
    for (int round = 0; round < 2; ++round) {
      size_t at = 0;
      const DataSource source = [&](std::span<std::byte> out) -> Result<size_t> {
        const size_t size = std::min(out.size(), tar.size() - at);
        std::memcpy(out.data(), tar.data() + at, size);
        at += size;
        return size;
      };
      const auto in = upload_tar(guest.link, source, "/d", mine(), soon());
      REQUIRE_MESSAGE(in, in.error().message);
    }
    CHECK(status_of(guest.root / "d/one").st_ino == status_of(guest.root / "d/two").st_ino);
    CHECK(guest.root.read("d/two") == "abc");
    CHECK(count(guest.root / "d") == 2);
  }

  TEST_CASE("a hostile tree stays inside the directory it was to go to") {
    const TempDir host;
    fs::create_directory(host / "in");
    fs::create_directory(host / "outside");
    const SentEntry top{.type = kDirectory, .path = "", .mode = 0755};
    const std::string paths[] = {"..",        "../x",
                                 "a/../../x", "/x",
                                 "a//x",      "a/",
                                 ".",         "./x",
                                 "a/./x",     "",
                                 "a/..",      std::string(256, 'n'),
                                 "/etc",      "a/" + std::string(256, 'n')};
    for (const std::string& path : paths) {
      CAPTURE(path);
      CHECK(code_of(download_entries({top, {.path = path, .size = 1}}, host / "in", "t")) ==
            ErrorCode::protocol);
    }
    CHECK(code_of(download_entries({{.path = "no-top", .size = 1}}, host / "in", "t")) ==
          ErrorCode::protocol);
    CHECK(code_of(download_entries({}, host / "in", "t")) == ErrorCode::protocol);
    CHECK(count(host / "in") == 1);
    // Through a link that the tree itself brought, and one that was there.
    const std::string out = (host / "outside").string();
    fs::create_symlink(out, host / "in/there");
    const std::vector<SentEntry> through[] = {
        {top, {.type = kSymlink, .path = "l", .link_target = out}, {.path = "l/x", .size = 1}},
        {top,
         {.type = kSymlink, .path = "l", .link_target = "../../outside"},
         {.type = kDirectory, .path = "l", .mode = 0777}},
        {top, {.path = "f", .size = 1}, {.path = "f/x", .size = 1}},
    };
    for (const auto& entries : through)
      CHECK(code_of(download_entries(entries, host / "in", "t")) == ErrorCode::invalid_argument);
    CHECK(code_of(download_entries({top, {.path = "x", .size = 1}}, host / "in", "there")) ==
          ErrorCode::invalid_argument);
    CHECK(count(host / "outside") == 0);
    // A file in the place of a link replaces it.
    CHECK(download_entries({{.path = "", .size = 1}}, host / "in", "there"));
    CHECK(fs::is_regular_file(fs::symlink_status(host / "in/there")));
    CHECK(count(host / "outside") == 0);
  }

  TEST_CASE("a directory that may not be written to is filled, and then so") {
    const TempDir host;
    const SentEntry top{.type = kDirectory, .path = "", .mode = 0500};
    REQUIRE(download_entries({top,
                              {.type = kDirectory, .path = "d", .mode = 0500},
                              {.path = "d/e", .size = 1},
                              {.path = "f", .size = 1}},
                             host.path(), "t"));
    CHECK(text_of(host / "t/d/e") == "x");
    CHECK(text_of(host / "t/f") == "x");
    for (const char* name : {"t", "t/d"}) {
      CHECK(status_of(host / name).st_mode == (S_IFDIR | 0500));
      fs::permissions(host / name, fs::perms::owner_all);
    }
  }

  TEST_CASE("a guest says neither how much it sends nor what runs with our rights") {
    const TempDir host;
    const SentEntry top{.type = kDirectory, .path = "", .mode = 06777};
    DownloadOptions options;
    options.max_entries = 2;
    CHECK(code_of(download_entries({top, {.path = "a"}, {.path = "b"}}, host.path(), "n",
                                   options)) == ErrorCode::invalid_argument);
    options = {};
    options.max_bytes = 9;
    CHECK(code_of(download_entries({top, {.path = "a", .size = 5}, {.path = "b", .size = 5}},
                                   host.path(), "m", options)) == ErrorCode::invalid_argument);
    CHECK(code_of(download_entries({top, {.path = "a", .size = UINT64_MAX}}, host.path(), "m")) ==
          ErrorCode::invalid_argument);
    // Fewer bytes than announced.
    CHECK(code_of(download_entries({{.path = "", .size = 2000}}, host.path(), "short")) ==
          ErrorCode::protocol);
    CHECK_FALSE(fs::exists(host / "short"));
    REQUIRE(download_entries({top, {.path = "f", .size = 1, .mode = 06755}}, host.path(), "s"));
    CHECK(status_of(host / "s").st_mode == (S_IFDIR | 0777));
    CHECK(status_of(host / "s/f").st_mode == (S_IFREG | 0755));
  }
}
