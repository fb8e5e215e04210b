// What a copy keeps of files: content without a size, holes, further names; and what it can not.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>
#include <fstream>

#include "host/transfer/directory_sink.hpp"
#include "host/transfer/tar_sink.hpp"
#include "host/transfer/upload.hpp"
#include "unit/host/session/file_agents.hpp"
#include "unit/host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace microvm::test;
namespace fs = std::filesystem;

namespace {

constexpr auto kDirectory = microvm_agent_FileEntry_Type_DIRECTORY;
constexpr auto kHardLink = microvm_agent_FileEntry_Type_HARD_LINK;
constexpr uint64_t kHole = 100u << 20;

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct stat status_of(const fs::path& path) {
  struct stat status{};
  ::lstat(path.c_str(), &status);
  return status;
}

// 'a', a hole, 'b', a hole.
void make_sparse(const fs::path& path) {
  const base::Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  REQUIRE(::pwrite(file.get(), "a", 1, 0) == 1);
  REQUIRE(::pwrite(file.get(), "b", 1, kHole) == 1);
  REQUIRE(::ftruncate(file.get(), 2 * kHole) == 0);
}

void check_sparse(const fs::path& path) {
  CAPTURE(path);
  const auto status = status_of(path);
  CHECK(status.st_size == 2 * kHole);
  CHECK(status.st_blocks * 512 < 200'000);
  const base::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char bytes[3] = {};
  CHECK(::pread(file.get(), bytes, 2, 0) == 2);
  CHECK(std::string_view(bytes, 2) == std::string_view("a\0", 2));
  CHECK(::pread(file.get(), bytes, 3, kHole - 1) == 3);
  CHECK(std::string_view(bytes, 3) == std::string_view("\0b\0", 3));
}

void make_all_hole(const fs::path& path) {
  const base::Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  REQUIRE(::ftruncate(file.get(), kHole) == 0);
}

void check_all_hole(const fs::path& path) {
  CHECK(status_of(path).st_size == kHole);
  CHECK(status_of(path).st_blocks * 512 < 100'000);
}

UploadOptions as_me() {
  UploadOptions options;
  options.uid = ::geteuid();
  options.gid = ::getegid();
  return options;
}

Result<TransferTotals> put(const std::shared_ptr<AgentLink>& link, const fs::path& path,
                           const UploadOptions& options = as_me()) {
  auto change = FileChange::make();
  REQUIRE(change);
  return upload_tree(link, path, "/", options, soon(), *change);
}

Result<TransferTotals> get(const std::shared_ptr<AgentLink>& link, const std::string& path,
                           const fs::path& directory, const std::string& name) {
  auto sink = DirectorySink::open(directory, name, Owners::mine);
  REQUIRE(sink);
  auto totals = get_tree(link, path, {}, *sink, soon());
  if (totals) REQUIRE(sink->finish());
  return totals;
}

std::string get_tar(const std::shared_ptr<AgentLink>& link, const std::string& path) {
  std::string tar;
  const DataSink out = [&](std::span<const std::byte> piece) -> Result<void> {
    tar += wire::as_text(piece);
    return {};
  };
  TarSink sink(out, "name");
  REQUIRE(sink.open());
  const auto totals = get_tree(link, path, {}, sink, soon());
  REQUIRE_MESSAGE(totals, totals.error().message);
  REQUIRE(sink.finish());
  return tar;
}

void put_tar(const std::shared_ptr<AgentLink>& link, const std::string& tar) {
  const DataSource source = [&tar, at = size_t{0}](std::span<std::byte> out) mutable {
    const size_t size = std::min(out.size(), tar.size() - at);
    std::memcpy(out.data(), tar.data() + at, size);
    at += size;
    return Result<size_t>(size);
  };
  auto change = FileChange::make();
  REQUIRE(change);
  const auto totals = upload_tar(link, source, "/", as_me(), soon(), *change);
  REQUIRE_MESSAGE(totals, totals.error().message);
}

struct RootAgent : FileAgent {
  RootAgent() { guest.root_fd = top.get(); }
  base::Fd top{::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
};

ErrorCode code_from(Frames frames, const fs::path& directory) {
  frames.push_back(ok_frame());
  const auto got = get(answering(std::move(frames)), "/any", directory, "t");
  return got ? ErrorCode{} : got.error().code;
}

std::pair<wire::FrameType, wire::Bytes> sparse_frame(const std::string& path, uint64_t size,
                                                     uint32_t extents) {
  microvm_agent_FileEntry entry{};
  path.copy(entry.path, sizeof entry.path - 1);
  entry.size = size;
  entry.mode = 0644;
  entry.sparse = true;
  entry.extents = extents;
  return {wire::FrameType::file_entry, encode_message(entry)};
}

std::pair<wire::FrameType, wire::Bytes> extents_frame(const std::vector<FileExtent>& extents) {
  const auto bytes = std::as_bytes(std::span(extents));
  return {wire::FrameType::file_extents, {bytes.begin(), bytes.end()}};
}

}  // namespace

TEST_SUITE("kept kinds") {
  TEST_CASE("files without a size are read to their end, both ways and into tars") {
    RootAgent guest;
    const TempDir host;
    const std::string version = text_of("/proc/version");
    REQUIRE_FALSE(version.empty());
    REQUIRE(status_of("/proc/version").st_size == 0);
    REQUIRE(get(guest.link, "/proc/version", host.path(), "v"));
    CHECK(text_of(host / "v") == version);
    CHECK(get_tar(guest.link, "/proc/version").find(version) != std::string::npos);
    // Says that it has a page.
    const std::string cpus = "/sys/devices/system/cpu/possible";
    REQUIRE(get(guest.link, cpus, host.path(), "c"));
    CHECK(text_of(host / "c") == text_of(cpus));
    FileAgent other;
    for (const std::string& path : {std::string("/proc/version"), cpus}) {
      REQUIRE(put(other.link, path));
      CHECK(other.root.read(fs::path(path).filename()) == text_of(path));
    }
    // One without an end.
    const auto endless = get(guest.link, "/proc/self/mem", host.path(), "m");
    CHECK_FALSE(endless);
    CHECK_FALSE(fs::exists(host / "m"));
  }

  TEST_CASE("holes stay holes, both ways and in tars, in no time") {
    const auto begin = std::chrono::steady_clock::now();
    FileAgent guest;
    const TempDir host;
    fs::create_directory(host / "tree");
    make_sparse(host / "tree/sparse");
    make_all_hole(host / "tree/hole");
    const auto up = put(guest.link, host / "tree");
    REQUIRE_MESSAGE(up, up.error().message);
    CHECK(up->bytes == 3 * kHole);
    check_sparse(guest.root / "tree/sparse");
    check_all_hole(guest.root / "tree/hole");
    REQUIRE(get(guest.link, "/tree", host.path(), "back"));
    check_sparse(host / "back/sparse");
    check_all_hole(host / "back/hole");
    const std::string tar = get_tar(guest.link, "/tree");
    CHECK(tar.size() < 200'000);
    put_tar(guest.link, tar);
    check_sparse(guest.root / "name/sparse");
    check_all_hole(guest.root / "name/hole");
    // As GNU tar understands it.
    std::ofstream(host / "tar", std::ios::binary) << tar;
    fs::create_directory(host / "gnu");
    REQUIRE(std::system(("tar -xSf " + (host / "tar").string() + " -C " + (host / "gnu").string())
                            .c_str()) == 0);
    check_sparse(host / "gnu/name/sparse");
    check_all_hole(host / "gnu/name/hole");
    // And the other way round.
    const std::string gnu = (host / "gnu.tar").string();
    REQUIRE(std::system(("tar -cSf " + gnu + " -C " + (host / "gnu").string() + " name").c_str()) ==
            0);
    FileAgent from_gnu;
    put_tar(from_gnu.link, text_of(gnu));
    check_sparse(from_gnu.root / "name/sparse");
    check_all_hole(from_gnu.root / "name/hole");
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
  }

  TEST_CASE("a file in many pieces keeps them") {
    constexpr int kPieces = 3000;
    FileAgent guest;
    const TempDir host;
    {
      const base::Fd file(::open((host / "many").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
      for (int i = 0; i < kPieces; ++i) REQUIRE(::pwrite(file.get(), &i, 4, i * 16384L) == 4);
    }
    REQUIRE(put(guest.link, host / "many"));
    CHECK(text_of(guest.root / "many") == text_of(host / "many"));
    REQUIRE(get(guest.link, "/many", host.path(), "back"));
    CHECK(text_of(host / "back") == text_of(host / "many"));
    CHECK(status_of(host / "back").st_blocks <= status_of(host / "many").st_blocks);
    put_tar(guest.link, get_tar(guest.link, "/many"));
    CHECK(text_of(guest.root / "name") == text_of(host / "many"));
    CHECK(status_of(guest.root / "name").st_blocks <= status_of(host / "many").st_blocks);
  }

  TEST_CASE("data and holes of a hostile guest are where the file is") {
    const TempDir host;
    const std::vector<FileExtent> wrong[] = {
        {{0, 11}},         {{11, 1}},         {{9, 2}},
        {{0, 0}},          {{4, 2}, {0, 2}},  // not ascending
        {{0, 5}, {4, 2}},                     // one over the other
        {{1, UINT64_MAX}}, {{UINT64_MAX, 2}}, {{UINT64_MAX, UINT64_MAX}},
    };
    for (const auto& extents : wrong) {
      Frames frames = {sparse_frame("", 10, static_cast<uint32_t>(extents.size())),
                       extents_frame(extents)};
      for (const FileExtent& extent : extents)
        frames.push_back(data_frame(std::string(std::min<uint64_t>(extent.size, 100), 'x')));
      CHECK(code_from(std::move(frames), host.path()) == ErrorCode::protocol);
    }
    const std::vector<FileExtent> two = {{0, 1}, {5, 1}};
    CHECK(code_from({sparse_frame("", 10, 1), extents_frame(two)}, host.path()) ==
          ErrorCode::protocol);
    CHECK(code_from({sparse_frame("", 10, 3), extents_frame(two)}, host.path()) ==
          ErrorCode::protocol);
    CHECK(code_from({sparse_frame("", 10, UINT32_MAX)}, host.path()) == ErrorCode::protocol);
    CHECK(code_from({sparse_frame("", 10, 1), {wire::FrameType::file_extents, wire::Bytes(15)}},
                    host.path()) == ErrorCode::protocol);
    CHECK(code_from({sparse_frame("", 10, 2), extents_frame(two), data_frame("abc")},
                    host.path()) == ErrorCode::protocol);
    // More than may come counts with its holes.
    CHECK(code_from({sparse_frame("", UINT64_MAX, 0)}, host.path()) == ErrorCode::invalid_argument);
    CHECK(fs::is_empty(host.path()));
    CHECK(code_from({sparse_frame("", 10, 2), extents_frame(two), data_frame("a"), data_frame("b")},
                    host.path()) == ErrorCode{});
    CHECK(text_of(host / "t") == std::string("a\0\0\0\0b\0\0\0\0", 10));
  }

  TEST_CASE("further names stay names of one file, both ways and in tars") {
    FileAgent guest;
    const TempDir host;
    fs::create_directories(host / "tree/sub");
    std::ofstream(host / "tree/one") << "text";
    fs::create_hard_link(host / "tree/one", host / "tree/sub/two");
    fs::create_hard_link(host / "tree/one", host / "outside");
    std::ofstream(host / "tree/alone") << "text";
    const auto is_one_file = [](const fs::path& top) {
      CHECK(text_of(top / "sub/two") == "text");
      CHECK(status_of(top / "one").st_nlink == 2);
      CHECK(status_of(top / "one").st_ino == status_of(top / "sub/two").st_ino);
      CHECK(status_of(top / "alone").st_nlink == 1);
    };
    const auto up = put(guest.link, host / "tree");
    REQUIRE_MESSAGE(up, up.error().message);
    CHECK(up->entries == 5);
    CHECK(up->bytes == 8);
    is_one_file(guest.root / "tree");
    for (int round = 0; round < 2; ++round) {  // onto itself, the second time
      const auto down = get(guest.link, "/tree", host.path(), "back");
      REQUIRE_MESSAGE(down, down.error().message);
      CHECK(down->entries == 5);
      CHECK(down->bytes == 8);
      is_one_file(host / "back");
    }
    REQUIRE(get(guest.link, "/tree", host.path(), "."));
    is_one_file(host.path());
    put_tar(guest.link, get_tar(guest.link, "/tree"));
    is_one_file(guest.root / "name");
    // One of two names alone is a file.
    REQUIRE(get(guest.link, "/tree/one", host.path(), "single"));
    CHECK(status_of(host / "single").st_nlink == 1);
  }

  TEST_CASE("a hostile guest makes no name of a file that it did not send") {
    const TempDir host;
    fs::create_directories(host / "t/there");
    std::ofstream(host / "secret") << "secret";
    std::ofstream(host / "t/mine") << "mine";
    fs::create_symlink(host / "secret", host / "t/link");
    const auto top = entry_frame({.type = kDirectory, .path = "", .mode = 0755});
    for (const char* target : {"../secret", "/secret", "mine", "link", "none", "there/../mine", "",
                               "there", ".", "x/"}) {
      CAPTURE(target);
      CHECK(code_from({top, entry_frame({.path = "x"}),
                       entry_frame({.type = kHardLink, .path = "new", .link_target = target})},
                      host.path()) == ErrorCode::protocol);
      CHECK_FALSE(fs::exists(fs::symlink_status(host / "t/new")));
    }
    CHECK(code_from({entry_frame({.type = kHardLink, .path = "", .link_target = "x"})},
                    host.path()) == ErrorCode::protocol);
    // One that it sent, and then replaced by a link out of the tree.
    microvm_agent_FileEntry file{};
    std::string("f").copy(file.path, 1);
    file.named_again = true;
    CHECK(code_from({top,
                     {wire::FrameType::file_entry, encode_message(file)},
                     entry_frame({.type = microvm_agent_FileEntry_Type_SYMLINK,
                                  .path = "f",
                                  .link_target = "../secret"}),
                     entry_frame({.type = kHardLink, .path = "g", .link_target = "f"})},
                    host.path()) == ErrorCode::busy);
    CHECK_FALSE(fs::exists(fs::symlink_status(host / "t/g")));
    CHECK(status_of(host / "secret").st_nlink == 1);
    CHECK(status_of(host / "t/mine").st_nlink == 1);
  }

  TEST_CASE("what was named and can not be carried is an error") {
    FileAgent guest;
    const TempDir host;
    ::mkfifo((guest.root / "fifo").c_str(), 0600);
    ::mkfifo((host / "fifo").c_str(), 0600);
    const auto down = get(guest.link, "/fifo", host.path(), "x");
    REQUIRE_FALSE(down);
    CHECK(down.error().code == ErrorCode::invalid_argument);
    CHECK(down.error().message == "copy files: /fifo: not a file, a directory or a link");
    CHECK_FALSE(fs::exists(host / "x"));
    const auto up = put(guest.link, host / "fifo");
    REQUIRE_FALSE(up);
    CHECK(up.error().code == ErrorCode::invalid_argument);
    RootAgent machine;
    CHECK_FALSE(get(machine.link, "/dev/null", host.path(), "x"));
    CHECK_FALSE(put(guest.link, "/dev/null"));
  }

  TEST_CASE("a tree that comes again after a part of it is as one that came once") {
    FileAgent guest;
    guest.root.write("tree/closed/file", "text");
    guest.root.write("tree/open/file", "text");
    fs::create_hard_link(guest.root / "tree/open/file", guest.root / "tree/open/again");
    fs::permissions(guest.root / "tree/closed", static_cast<fs::perms>(0500));
    const TempDir host;
    auto sink = DirectorySink::open(host.path(), "t", Owners::mine);
    REQUIRE(sink);
    REQUIRE(get_tree(guest.link, "/tree", {}, *sink, soon()));  // but not finish()
    sink->begin_again();
    REQUIRE(get_tree(guest.link, "/tree", {}, *sink, soon()));
    REQUIRE(sink->finish());
    CHECK(text_of(host / "t/closed/file") == "text");
    CHECK(status_of(host / "t/closed").st_mode == (S_IFDIR | 0500));
    CHECK(status_of(host / "t").st_mode == status_of(guest.root / "tree").st_mode);
    CHECK(status_of(host / "t/open/file").st_nlink == 2);
    for (const fs::path& top : {guest.root / "tree", host / "t"})
      fs::permissions(top / "closed", fs::perms::owner_all);
  }

  TEST_CASE("an older agent is sent zeros for holes, and files for further names") {
    FileAgent guest;
    const auto old = std::make_shared<LocalLink>([&](base::Fd stream) {
      std::byte header[wire::FrameHeader::kSize] = {};
      REQUIRE(::recv(stream.get(), header, sizeof header, MSG_PEEK | MSG_WAITALL) == 5);
      if (static_cast<wire::FrameType>(header[4]) != wire::FrameType::put_tree)
        return agent::serve_operation(guest.guest, std::move(stream));
      agent::Channel channel(std::move(stream));
      channel.send_failure({EPROTO, "no operation starts with a frame of type 90"});
      channel.close_gently();
    });
    const TempDir host;
    fs::create_directory(host / "tree");
    std::ofstream(host / "tree/one") << "text";
    fs::create_hard_link(host / "tree/one", host / "tree/two");
    make_all_hole(host / "tree/hole");
    fs::resize_file(host / "tree/hole", 1u << 20);
    REQUIRE(put(old, host / "tree"));
    CHECK(text_of(guest.root / "tree/hole") == text_of(host / "tree/hole"));
    CHECK(text_of(guest.root / "tree/two") == "text");
    CHECK(status_of(guest.root / "tree/one").st_nlink == 1);
  }

  TEST_CASE("of a tree that an attempt before has put, its totals are known") {
    const TempDir host;
    std::ofstream(host / "file") << "text";
    FileChange change;
    change.totals.entries = 7;
    const auto up =
        upload_tree(answering({ok_frame()}), host / "file", "/", as_me(), soon(), change);
    REQUIRE_MESSAGE(up, up.error().message);
    CHECK(up->entries == 7);
  }
}
