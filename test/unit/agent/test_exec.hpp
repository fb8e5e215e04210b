// The host's side of a program of exec that it can come back to, for tests.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "unit/agent/operation_client.hpp"
#include "unit/agent/waiting.hpp"

namespace microvm::agent {

struct TestExec {
  explicit TestExec(Guest& guest) : client(guest) {}

  struct Options {
    std::vector<std::string> argv;
    std::string id = "p";
    bool keep = true;
    bool detached = false;
    uint64_t attempt = 0;
    bool stdin_open = false;
    uint32_t timeout_ms = 0;
  };
  TestExec& open(const Options& options);
  TestExec& attach(const microvm_agent_ExecAttachRequest& request);
  // From `position` on, where there is one.
  TestExec& attach(const std::string& id = "p", bool write = false,
                   std::optional<uint64_t> position = std::nullopt);
  // The next frame; false at the stream's end.
  bool step();
  bool read_until(const std::string& text);
  TestExec& finish();
  void type(std::string_view text) { client.send(FrameType::stdin_data, text); }
  void collect() { client.send(FrameType::pty_collect); }

  OperationClient client;
  std::optional<microvm_agent_Started> started;
  std::optional<microvm_agent_PtyRole> role;
  std::optional<microvm_agent_Exited> exited;
  std::optional<microvm_agent_Failure> failure;
  std::string out;
  std::string err;
  uint64_t lost = 0;

 private:
  void read_answer();
};

TestExec::Options sh(const std::string& script);
std::vector<microvm_agent_ExecInfo> list_execs(Guest& guest);
// As the one that is asked for; an empty one when it is not there.
microvm_agent_ExecInfo info_of(Guest& guest, const std::string& id = "p");
std::optional<Frame> signal_exec(Guest& guest, int signal, const std::string& id = "p",
                                 bool forget = false);
void send_exec_wait(OperationClient& client, const std::string& id = "p");

}  // namespace microvm::agent
