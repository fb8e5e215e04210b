// The host's side of a terminal session, for tests.
#pragma once

#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "unit/agent/operation_client.hpp"
#include "unit/agent/waiting.hpp"

namespace microvm::agent {

struct TerminalOptions {
  std::vector<std::string> argv;
  std::string id = "t";
  uint32_t rows = 24;
  uint32_t columns = 80;
  bool shared_writing = false;
  std::string user;
};

// One client: what it was told, and its output up to now.
struct TestTerminal {
  explicit TestTerminal(Guest& guest) : client(guest) {}

  // Each returns after the answer: opened, failure or exited.
  TestTerminal& open(const TerminalOptions& options);
  TestTerminal& attach(bool write = false, bool take_over = false, const std::string& id = "t");
  TestTerminal& attach(const microvm_agent_PtyAttachRequest& request);

  // Takes one more frame; false when there is none any more.
  bool step();
  bool read_until(const std::string& text);
  // Up to the program's end.
  TestTerminal& finish();

  void type(const std::string& text) { client.send(FrameType::stdin_data, text); }
  void resize(uint32_t rows, uint32_t columns);
  void signal(int number);

  OperationClient client;
  std::optional<microvm_agent_PtyOpened> opened;
  std::optional<microvm_agent_Failure> failure;
  std::optional<microvm_agent_PtyRole> role;
  std::optional<microvm_agent_Exited> exited;
  std::string out;
  uint64_t lost = 0;

 private:
  void read_answer();
};

TerminalOptions script(const std::string& text);

std::vector<microvm_agent_PtyInfo> list_terminals(Guest& guest);
// The answer.
std::optional<Frame> close_terminal(Guest& guest, const std::string& id = "t");

}  // namespace microvm::agent
