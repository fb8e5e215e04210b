// What the operations of one guest share. There is one in the agent, and one per case in tests.
#pragma once

#include <fcntl.h>

#include "agent/base/activity_counters.hpp"
#include "agent/clone/freezer.hpp"
#include "agent/files/change_memory.hpp"
#include "agent/network/guest_network.hpp"
#include "agent/program/app_log.hpp"
#include "agent/program/command.hpp"
#include "agent/session/session_table.hpp"

namespace microvm::agent {

struct Guest {
  int root_fd = AT_FDCWD;  // the root of the image's files
  Freezer freezer;
  Command command;
  AppLog app_log;
  PtyTable ptys;
  ExecTable execs;
  ActivityCounters activity;
  ChangeMemory changes;
  GuestNetwork network;
  void (*end_machine)(Guest&) = nullptr;   // after the image's command has ended
  void (*stop_machine)(Guest&) = nullptr;  // the command first, then the machine
};

}  // namespace microvm::agent
