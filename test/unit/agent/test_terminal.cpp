#include "unit/agent/test_terminal.hpp"

namespace microvm::agent {
namespace {

std::string lines(const std::vector<std::string>& strings) {
  std::string joined;
  for (const auto& text : strings) joined += text + '\0';
  return joined;
}

}  // namespace

TestTerminal& TestTerminal::open(const TerminalOptions& options) {
  microvm_agent_PtyOpenRequest request = microvm_agent_PtyOpenRequest_init_zero;
  copy_text(request.id, options.id);
  copy_text(request.user, options.user);
  request.rows = options.rows;
  request.columns = options.columns;
  request.shared_writing = options.shared_writing;
  client.send_message(FrameType::pty_open, microvm_agent_PtyOpenRequest_fields, &request);
  client.send(FrameType::arguments, lines(options.argv));
  client.send(FrameType::environment, lines({"PATH=/usr/bin:/bin", "TERM=dumb", "PS1=> "}));
  read_answer();
  return *this;
}

TestTerminal& TestTerminal::attach(bool write, bool take_over, const std::string& id) {
  microvm_agent_PtyAttachRequest request = microvm_agent_PtyAttachRequest_init_zero;
  copy_text(request.id, id);
  request.write = write;
  request.take_over = take_over;
  return attach(request);
}

TestTerminal& TestTerminal::attach(const microvm_agent_PtyAttachRequest& request) {
  client.send_message(FrameType::pty_attach, microvm_agent_PtyAttachRequest_fields, &request);
  read_answer();
  return *this;
}

void TestTerminal::read_answer() {
  const auto frame = client.read();
  failure = failure_of(frame);
  if (!frame) return;
  if (frame->type == FrameType::exited)
    exited = decode<microvm_agent_Exited>(*frame, microvm_agent_Exited_fields);
  if (frame->type == FrameType::pty_opened)
    opened = decode<microvm_agent_PtyOpened>(*frame, microvm_agent_PtyOpened_fields);
}

bool TestTerminal::step() {
  const auto frame = client.read();
  if (!frame) return false;
  if (frame->type == FrameType::stdout_data) out += frame->body;
  if (frame->type == FrameType::pty_lost)
    lost += decode<microvm_agent_PtyLost>(*frame, microvm_agent_PtyLost_fields)->bytes;
  if (frame->type == FrameType::pty_role)
    role = decode<microvm_agent_PtyRole>(*frame, microvm_agent_PtyRole_fields);
  if (frame->type == FrameType::exited)
    exited = decode<microvm_agent_Exited>(*frame, microvm_agent_Exited_fields);
  return true;
}

bool TestTerminal::read_until(const std::string& text) {
  while (out.find(text) == std::string::npos) {
    if (exited || !step()) return false;
  }
  return true;
}

TestTerminal& TestTerminal::finish() {
  while (!exited && step()) {
  }
  return *this;
}

void TestTerminal::resize(uint32_t rows, uint32_t columns) {
  microvm_agent_PtySize size{rows, columns};
  client.send_message(FrameType::pty_resize, microvm_agent_PtySize_fields, &size);
}

void TestTerminal::signal(int number) {
  microvm_agent_SignalRequest request{static_cast<uint32_t>(number)};
  client.send_message(FrameType::signal, microvm_agent_SignalRequest_fields, &request);
}

TerminalOptions script(const std::string& text) {
  return {.argv = {"sh", "-c", text}};
}

std::vector<microvm_agent_PtyInfo> list_terminals(Guest& guest) {
  OperationClient client(guest);
  client.send(FrameType::pty_list);
  std::vector<microvm_agent_PtyInfo> infos;
  for (auto frame = client.read(); frame && frame->type == FrameType::pty_info;
       frame = client.read())
    infos.push_back(*decode<microvm_agent_PtyInfo>(*frame, microvm_agent_PtyInfo_fields));
  return infos;
}

std::optional<Frame> close_terminal(Guest& guest, const std::string& id) {
  OperationClient client(guest);
  microvm_agent_PtyCloseRequest request = microvm_agent_PtyCloseRequest_init_zero;
  copy_text(request.id, id);
  client.send_message(FrameType::pty_close, microvm_agent_PtyCloseRequest_fields, &request);
  return client.read();
}

}  // namespace microvm::agent
