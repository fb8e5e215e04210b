#include "agent/files/change_memory.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "unit/agent/operation_client.hpp"
#include "unit/agent/temporary_root.hpp"

namespace microvm::agent {
namespace {

using Action = microvm_agent_FileRequest_Action;
using Id = std::array<std::byte, ChangeMemory::kIdBytes>;

Id id_of(unsigned number) {
  Id id{};
  id[0] = static_cast<std::byte>(number);
  id[15] = static_cast<std::byte>(number >> 8);
  return id;
}

struct Changes {
  Changes() { guest.root_fd = root.fd(); }

  static void begin(OperationClient& client, FrameType type, Action action, const std::string& path,
                    const std::string& new_path = {}) {
    microvm_agent_FileRequest request = microvm_agent_FileRequest_init_zero;
    request.action = action;
    copy_text(request.path, path);
    copy_text(request.new_path, new_path);
    copy_text(request.owner, std::to_string(geteuid()) + ":" + std::to_string(getegid()));
    request.operation_id.size = ChangeMemory::kIdBytes;
    std::memcpy(request.operation_id.bytes, id_of(7).data(), ChangeMemory::kIdBytes);
    client.send_message(type, microvm_agent_FileRequest_fields, &request);
  }

  static void begin_put(OperationClient& client) {
    microvm_agent_PutTreeRequest request = microvm_agent_PutTreeRequest_init_zero;
    request.operation_id.size = ChangeMemory::kIdBytes;
    std::memcpy(request.operation_id.bytes, id_of(7).data(), ChangeMemory::kIdBytes);
    client.send_message(FrameType::put_tree, microvm_agent_PutTreeRequest_fields, &request);
  }

  static void send_entry(OperationClient& client, const std::string& path, uint64_t size) {
    microvm_agent_FileEntry entry = microvm_agent_FileEntry_init_zero;
    copy_text(entry.path, path);
    entry.size = size;
    entry.mode = 0644;
    entry.uid = geteuid();
    entry.gid = getegid();
    client.send_message(FrameType::file_entry, microvm_agent_FileEntry_fields, &entry);
  }

  // The type of the next frame.
  static FrameType next(OperationClient& client) {
    const auto frame = client.read();
    return frame ? frame->type : FrameType{};
  }

  TemporaryRoot root;
  Guest guest;
};

}  // namespace

TEST_SUITE("agent change memory") {
  TEST_CASE("the last 64 are remembered, and one in hand is waited for") {
    ChangeMemory memory;
    for (unsigned i = 0; i < 100; i++) memory.begin(id_of(i)).answer_with(fail("done", 1));
    CHECK_FALSE(memory.begin(id_of(20)).answer());  // which is a new one now
    CHECK(memory.begin(id_of(99)).answer());
    CHECK(memory.begin(id_of(99)).answer()->error().message == "done");
    std::atomic<bool> has_ended{false};
    std::thread other;
    {
      auto turn = memory.begin(id_of(1000));
      other = std::thread([&] {
        const auto again = memory.begin(id_of(1000));
        CHECK(has_ended);
        CHECK(again.answer());
      });
      usleep(50'000);
      has_ended = true;
      turn.answer_with({});
    }
    other.join();
  }

  TEST_CASE("a change that is asked for again is told what became of it") {
    Changes files;
    files.root.write("old", "x");
    {
      OperationClient client(files.guest);
      Changes::begin(client, FrameType::file, Action::microvm_agent_FileRequest_Action_RENAME,
                     "/old", "/new");
      client.close();  // its answer is lost
    }
    CHECK(files.root.read("new") == "x");
    files.root.write("old", "another");
    for (int i = 0; i < 2; i++) {
      OperationClient client(files.guest);
      Changes::begin(client, FrameType::file_again, Action::microvm_agent_FileRequest_Action_RENAME,
                     "/old", "/new");
      CHECK(Changes::next(client) == FrameType::ok);
    }
    CHECK(files.root.read("new") == "x");
    CHECK(files.root.read("old") == "another");
  }

  TEST_CASE("a failure is remembered, too") {
    Changes files;
    {
      OperationClient client(files.guest);
      Changes::begin(client, FrameType::file, Action::microvm_agent_FileRequest_Action_REMOVE,
                     "/none");
      CHECK(Changes::next(client) == FrameType::failed);
    }
    files.root.write("none", "x");
    OperationClient client(files.guest);
    Changes::begin(client, FrameType::file_again, Action::microvm_agent_FileRequest_Action_REMOVE,
                   "/none");
    CHECK(Changes::next(client) == FrameType::failed);
    CHECK(files.root.read("none") == "x");
  }

  TEST_CASE("what was written of an append before the connection broke is not written again") {
    Changes files;
    files.root.write("log", "begin ");
    {
      OperationClient client(files.guest);
      Changes::begin(client, FrameType::file, Action::microvm_agent_FileRequest_Action_APPEND,
                     "/log");
      client.send(FrameType::file_data, "one ").send(FrameType::file_data, "two ");
      client.send_raw("\x05");  // and a part of a header
    }
    CHECK(files.root.read("log") == "begin one two ");
    OperationClient client(files.guest);
    Changes::begin(client, FrameType::file_again, Action::microvm_agent_FileRequest_Action_APPEND,
                   "/log");
    CHECK(Changes::next(client) == FrameType::go_on);
    client.send(FrameType::file_data, "one tw").send(FrameType::file_data, "o three");
    client.send(FrameType::put_end);
    CHECK(Changes::next(client) == FrameType::ok);
    CHECK(files.root.read("log") == "begin one two three");
  }

  TEST_CASE("a write whose data did not come is begun again") {
    Changes files;
    files.root.write("file", "old");
    {
      OperationClient client(files.guest);
      Changes::begin(client, FrameType::file, Action::microvm_agent_FileRequest_Action_WRITE,
                     "/file");
      client.send(FrameType::file_data, "ne");
    }
    CHECK(files.root.read("file") == "old");
    OperationClient client(files.guest);
    Changes::begin(client, FrameType::file_again, Action::microvm_agent_FileRequest_Action_WRITE,
                   "/file");
    CHECK(Changes::next(client) == FrameType::go_on);
    client.send(FrameType::file_data, "new").send(FrameType::put_end);
    CHECK(Changes::next(client) == FrameType::ok);
    CHECK(files.root.read("file") == "new");
  }

  TEST_CASE("a tree that was put is not put again") {
    Changes files;
    {
      OperationClient client(files.guest);
      Changes::begin_put(client);
      CHECK(Changes::next(client) == FrameType::go_on);
      Changes::send_entry(client, "/in/file", 3);
      client.send(FrameType::file_data, "one").send(FrameType::put_end).close();
    }
    CHECK(files.root.read("in/file") == "one");
    std::filesystem::remove(files.root / "in/file");  // a program took it
    OperationClient client(files.guest);
    Changes::begin_put(client);
    CHECK(Changes::next(client) == FrameType::ok);
    CHECK_FALSE(std::filesystem::exists(files.root / "in/file"));
  }

  TEST_CASE("nothing is done again that has no id") {
    Changes files;
    OperationClient client(files.guest);
    microvm_agent_FileRequest request = microvm_agent_FileRequest_init_zero;
    copy_text(request.path, "/x");
    client.send_message(FrameType::file_again, microvm_agent_FileRequest_fields, &request);
    CHECK(Changes::next(client) == FrameType::failed);
  }
}

}  // namespace microvm::agent
