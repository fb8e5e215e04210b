// Single files of a guest, with the real agent over a directory of this machine and with bad ones.
#include "host/session/guest_files.hpp"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/stat.h>

#include <atomic>
#include <barrier>
#include <thread>

#include "unit/host/session/file_agents.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace microvm::test;
using Content = GuestFiles::Content;

namespace {

struct Files : FileAgent {
  GuestFiles files{link};

  Result<void> put(const std::string& path, const std::string& text,
                   Content content = Content::replaces,
                   std::optional<uint32_t> mode = std::nullopt) {
    WriteFileOptions options;
    options.mode = mode;
    options.owner = me();
    return files.write(path, content, source(text), options, soon());
  }

  static DataSource source(const std::string& text) {
    return [text, at = size_t{0}](std::span<std::byte> out) mutable -> Result<size_t> {
      const size_t size = std::min(out.size(), text.size() - at);
      std::memcpy(out.data(), text.data() + at, size);
      at += size;
      return size;
    };
  }

  Result<std::string> get(const std::string& path, const ReadFileOptions& options = {}) {
    std::string text;
    const auto info = files.read(
        path, options,
        [&](std::span<const std::byte> piece) -> Result<void> {
          text += wire::as_text(piece);
          return {};
        },
        soon());
    if (!info) return base::fail(info.error());
    return text;
  }

  mode_t mode(const std::string& name) {
    struct stat status{};
    ::lstat((root / name).c_str(), &status);
    return status.st_mode;
  }

  size_t count() {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(root / "."), {}));
  }
};

template <class T>
ErrorCode code_of(const Result<T>& result) {
  return result ? ErrorCode{} : result.error().code;
}

// A way to a guest's agent that breaks: `bytes` of what the host says come through, then both ends
// lose it, as after a restore. The agent's answers never come through.
std::shared_ptr<LocalLink> breaking_after(agent::Guest& guest, size_t bytes) {
  return std::make_shared<LocalLink>([&guest, bytes](base::Fd host) {
    auto pair = sys::stream_pair();
    REQUIRE(pair);
    std::thread agent([&guest, stream = std::move(pair->second)]() mutable {
      agent::serve_operation(guest, std::move(stream));
    });
    char piece[4096];
    for (size_t left = bytes; left > 0;) {
      pollfd ends[] = {{host.get(), POLLIN, 0}, {pair->first.get(), POLLIN, 0}};
      REQUIRE(::poll(ends, 2, 10'000) > 0);
      if (ends[1].revents != 0) break;  // it has answered
      const auto got = ::recv(host.get(), piece, std::min(left, sizeof piece), 0);
      if (got <= 0) break;
      REQUIRE(::send(pair->first.get(), piece, static_cast<size_t>(got), 0) == got);
      left -= static_cast<size_t>(got);
    }
    ::shutdown(pair->first.get(), SHUT_WR);
    agent.join();
  });
}

}  // namespace

TEST_SUITE("session files") {
  TEST_CASE("what is written is read, whole, in parts, and after appending") {
    Files guest;
    const std::string large(1'000'000, 'x');
    REQUIRE(guest.put("/file", large, Content::replaces, 0640));
    CHECK(guest.mode("file") == (S_IFREG | 0640));
    CHECK(guest.get("/file") == large);
    REQUIRE(guest.put("/file", "0123456789"));
    CHECK(guest.mode("file") == (S_IFREG | 0640));
    REQUIRE(guest.put("/file", "abc", Content::is_appended));
    CHECK(guest.get("/file") == "0123456789abc");
    CHECK(guest.get("/file", {.offset = 3, .length = 4}) == "3456");
    CHECK(guest.get("/file", {.offset = 11}) == "bc");
    CHECK(guest.get("/file", {.offset = 100}) == "");
    REQUIRE(guest.put("/new", "n", Content::is_appended, 0600));
    CHECK(guest.mode("new") == (S_IFREG | 0600));
    REQUIRE(guest.put("/empty", ""));
    CHECK(guest.mode("empty") == (S_IFREG | 0644));
    CHECK(guest.count() == 3);
  }

  TEST_CASE("more than the caller takes is an error, and not a cut") {
    Files guest;
    guest.root.write("file", "0123456789");
    const auto read = guest.get("/file", {.max_bytes = 9});
    REQUIRE_FALSE(read);
    CHECK(read.error().code == ErrorCode::invalid_argument);
    CHECK(read.error().message.find("/file has more than 9 bytes") != std::string::npos);
  }

  TEST_CASE("a write that fails on the way leaves the old content and nothing else") {
    Files guest;
    guest.root.write("file", "old");
    int calls = 0;
    const auto broken = [&](std::span<std::byte> out) -> Result<size_t> {
      if (++calls == 3) return base::fail(ErrorCode::io, "the source broke");
      return out.size();
    };
    const auto written = guest.files.write("/file", Content::replaces, broken, {}, soon());
    REQUIRE_FALSE(written);
    CHECK(written.error().message == "the source broke");
    CHECK(guest.root.read("file") == "old");
    guest.link->wait_for_peers();  // the agent notices by the stream's end
    CHECK(guest.count() == 1);
  }

  TEST_CASE("a change whose connection breaks is begun again and done once, wherever it breaks") {
    const std::string text(100'000, 't');
    for (const size_t bytes :
         {0u, 3u, 40u, 500u, 20'000u, 40'000u, 90'000u, 100'500u, 1'000'000u}) {
      CAPTURE(bytes);
      Files guest;
      guest.root.write("log", "begin");
      auto change = FileChange::make();
      REQUIRE(change);
      WriteFileOptions options;
      options.owner = me();
      const auto append = [&](const std::shared_ptr<AgentLink>& link) {
        return GuestFiles(link, &*change)
            .write("/log", Content::is_appended, Files::source(text), options, soon());
      };
      const auto broken = breaking_after(guest.guest, bytes);
      CHECK(code_of(append(broken)) == ErrorCode::vm_gone);
      broken->wait_for_peers();
      CHECK(append(guest.link));
      CHECK(append(guest.link));
      CHECK(guest.root.read("log") == "begin" + text);
    }
  }

  TEST_CASE("an agent too old to remember is not asked to do anything twice") {
    microvm_agent_Failure unknown{};
    unknown.error = EPROTO;
    std::string("no operation starts with a frame of type 91").copy(unknown.message, 100);
    const auto old = answering({{wire::FrameType::failed, encode_message(unknown)}});
    auto change = FileChange::make();
    REQUIRE(change);
    change->begun = true;
    CHECK(code_of(GuestFiles(old, &*change).remove("/x", {}, soon())) == ErrorCode::vm_suspended);
  }

  TEST_CASE("a file that is not to be replaced is kept") {
    Files guest;
    guest.root.write("file", "old");
    WriteFileOptions options;
    options.owner = me();
    options.replace = false;
    CHECK(code_of(guest.files.write("/file", Content::replaces, Files::source("new"), options,
                                    soon())) == ErrorCode::already_exists);
    CHECK(guest.root.read("file") == "old");
    CHECK(guest.files.write("/other", Content::replaces, Files::source("new"), options, soon()));
    CHECK(guest.root.read("other") == "new");
  }

  TEST_CASE("links are followed inside the root and stay links") {
    Files guest;
    guest.root.write("data/real", "old");
    std::filesystem::create_symlink("/data/real", guest.root / "absolute");
    std::filesystem::create_symlink("../../../../data", guest.root / "up");
    std::filesystem::create_symlink("loop", guest.root / "loop");
    REQUIRE(guest.put("/absolute", "one"));
    CHECK(guest.root.read("data/real") == "one");
    REQUIRE(guest.put("/up/real", "two", Content::is_appended));
    CHECK(guest.get("/../../up/../data/real") == "onetwo");
    CHECK(std::filesystem::is_symlink(guest.root / "absolute"));
    CHECK(code_of(guest.put("/loop", "x")) == ErrorCode::invalid_argument);
    REQUIRE(guest.files.remove("/absolute", {}, soon()));
    CHECK(guest.root.read("data/real") == "onetwo");
    const auto link = guest.files.stat("/up", false, soon());
    REQUIRE(link);
    CHECK(link->type == FileType::symlink);
    CHECK(link->link_target == "../../../../data");
    CHECK(guest.files.stat("/up", true, soon())->type == FileType::directory);
  }

  TEST_CASE("a directory is made, listed, renamed and removed") {
    Files guest;
    MakeDirectoryOptions options;
    options.owner = me();
    options.mode = 0700;
    REQUIRE(guest.files.make_directory("/d", options, soon()));
    CHECK(guest.mode("d") == (S_IFDIR | 0700));
    CHECK(code_of(guest.files.make_directory("/d", options, soon())) == ErrorCode::already_exists);
    CHECK(code_of(guest.files.make_directory("/a/b/c", options, soon())) == ErrorCode::not_found);
    options.parents = true;
    CHECK(guest.files.make_directory("/d", options, soon()));
    REQUIRE(guest.files.make_directory("/a/b/c", options, soon()));
    guest.root.write("d/two", "22");
    guest.root.write("d/one", "1");
    std::filesystem::create_symlink("one", guest.root / "d/link");
    const auto list = guest.files.list("/d", 3, soon());
    REQUIRE(list);
    REQUIRE(list->size() == 3);
    CHECK((*list)[0].name == "link");
    CHECK((*list)[0].link_target == "one");
    CHECK((*list)[1].name == "one");
    CHECK((*list)[2].size_bytes == 2);
    CHECK(code_of(guest.files.list("/d", 2, soon())) == ErrorCode::invalid_argument);
    CHECK(code_of(guest.files.remove("/d", {}, soon())) == ErrorCode::invalid_argument);
    REQUIRE(guest.files.rename("/d", "/a/b/c/moved", {}, soon()));
    CHECK(guest.root.read("a/b/c/moved/one") == "1");
    CHECK(guest.files.remove("/a/b/c/moved/two", {}, soon()));
    REQUIRE(guest.files.remove("/a", {.recursive = true}, soon()));
    CHECK(guest.count() == 0);
  }

  TEST_CASE("two that make a directory with its parents at once both succeed") {
    constexpr int kRounds = 100;
    Files guest;
    // A link is one thread's.
    const auto other_link = std::make_shared<LocalLink>(
        [&](base::Fd stream) { agent::serve_operation(guest.guest, std::move(stream)); });
    MakeDirectoryOptions options;
    options.owner = me();
    options.parents = true;
    std::barrier together(2);
    std::atomic<int> made{0};
    const auto make = [&](GuestFiles files) {
      for (int i = 0; i < kRounds; ++i) {
        together.arrive_and_wait();
        const std::string path = "/" + std::to_string(i) + "/a/b/c";
        if (files.make_directory(path, options, soon())) ++made;
      }
    };
    std::thread other(make, GuestFiles(other_link));
    make(guest.files);
    other.join();
    CHECK(made == 2 * kRounds);
  }

  TEST_CASE("many that append to a file that is not there yet all do") {
    constexpr int kRounds = 200;
    Files guest;
    const auto other_link = std::make_shared<LocalLink>(
        [&](base::Fd stream) { agent::serve_operation(guest.guest, std::move(stream)); });
    WriteFileOptions options;
    options.owner = me();
    std::barrier together(2);
    std::atomic<int> done{0};
    const auto append = [&](GuestFiles files) {
      for (int i = 0; i < kRounds; ++i) {
        together.arrive_and_wait();
        if (files.write("/" + std::to_string(i), Content::is_appended, Files::source("x"), options,
                        soon()))
          ++done;
      }
    };
    std::thread other(append, GuestFiles(other_link));
    append(guest.files);
    other.join();
    CHECK(done == 2 * kRounds);
    for (int i = 0; i < kRounds; ++i) CHECK(guest.root.read(std::to_string(i)) == "xx");
  }

  TEST_CASE("removing a tree follows no link") {
    Files guest;
    guest.root.write("kept/file", "kept");
    guest.root.write("tree/deep/er/file", "x");
    std::filesystem::create_directory_symlink("/kept", guest.root / "tree/link");
    std::filesystem::create_directory_symlink("../../kept", guest.root / "tree/deep/link");
    REQUIRE(guest.files.remove("/tree", {.recursive = true}, soon()));
    CHECK(guest.root.read("kept/file") == "kept");
    CHECK(guest.count() == 1);
  }

  TEST_CASE("a rename replaces, unless it is told not to") {
    Files guest;
    guest.root.write("a", "a");
    guest.root.write("b", "b");
    CHECK(code_of(guest.files.rename("/a", "/b", {.replace = false}, soon())) ==
          ErrorCode::already_exists);
    CHECK(guest.files.rename("/a", "/b", {}, soon()));
    CHECK(guest.root.read("b") == "a");
    CHECK(guest.count() == 1);
  }

  TEST_CASE("errors have a kind, and name the guest's path") {
    Files guest;
    guest.root.write("file", "x");
    std::filesystem::create_directory(guest.root / "dir");
    ::mkfifo((guest.root / "fifo").c_str(), 0600);
    const std::string long_name = "/" + std::string(300, 'n');
    const struct {
      Result<std::string> result;
      ErrorCode code;
      std::string text;
    } cases[] = {
        {guest.get("/none"), ErrorCode::not_found, "read a file: /none: no such file"},
        {guest.get("/file/below"), ErrorCode::invalid_argument, "/file/below: not a directory"},
        {guest.get("/dir"), ErrorCode::invalid_argument, "/dir: is a directory"},
        {guest.get("/fifo"), ErrorCode::invalid_argument, "/fifo: not a regular file"},
        {guest.get(long_name), ErrorCode::invalid_argument, "nnn: file name too long"},
        {guest.get("relative"), ErrorCode::invalid_argument, "not an absolute path"},
        {guest.get("/" + std::string(5000, 'n')), ErrorCode::invalid_argument, "a path must be"},
    };
    for (const auto& [result, code, text] : cases) {
      CAPTURE(text);
      REQUIRE_FALSE(result);
      CHECK(result.error().code == code);
      CHECK_MESSAGE(result.error().message.find(text) != std::string::npos, result.error().message);
    }
    CHECK(code_of(guest.put("/dir", "x")) == ErrorCode::invalid_argument);
    CHECK(code_of(guest.put("/fifo", "x", Content::is_appended)) == ErrorCode::invalid_argument);
    CHECK(code_of(guest.put("/none/file", "x")) == ErrorCode::not_found);
    CHECK(code_of(guest.files.remove("/", {.recursive = true}, soon())) ==
          ErrorCode::invalid_argument);
    CHECK(code_of(guest.files.remove("/dir/..", {}, soon())) == ErrorCode::invalid_argument);
    WriteFileOptions nobody;
    nobody.owner = "nobody-of-this-name";
    for (const Content content : {Content::replaces, Content::is_appended}) {
      CHECK(code_of(guest.files.write("/f", content, Files::source("x"), nobody, soon())) ==
            ErrorCode::not_found);
      CHECK(code_of(guest.files.stat("/f", false, soon())) == ErrorCode::not_found);
    }
    CHECK(guest.count() == 3);
  }

  TEST_CASE("an agent that sends what it should not is told so") {
    using wire::FrameType;
    const auto entry = entry_frame({.path = "x", .size = 3});
    const Frames bad[] = {
        {data_frame("abc")},
        {entry, data_frame("")},
        {entry, entry},
        {{FrameType::file_entry, wire::Bytes(3, std::byte{0xff})}},
        {entry_frame({.type = microvm_agent_FileEntry_Type_HARD_LINK, .path = "x"})},
    };
    for (const Frames& frames : bad) {
      const auto link = answering(frames);
      const auto ignore = [](std::span<const std::byte>) -> Result<void> { return {}; };
      CHECK(code_of(GuestFiles(link).read("/x", {}, ignore, soon())) == ErrorCode::protocol);
    }
    for (const char* name : {"", "a/b"}) {
      const auto link = answering({entry_frame({.path = name}), ok_frame()});
      CHECK(code_of(GuestFiles(link).list("/", 10, soon())) == ErrorCode::protocol);
    }
    const auto gone = answering({entry});
    CHECK(code_of(GuestFiles(gone).list("/", 10, soon())) == ErrorCode::vm_gone);
  }
}
