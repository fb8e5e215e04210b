// Where the tests work: a directory that is removed at the end, and a Runtime on a data directory
// in it.
#pragma once

#include "check.h"

// Below $MICROVM_TEST_DATA, else /tmp; made at the first call, removed at the end of the program.
const char* test_dir(void);
// "NAME" below it; of one of four buffers in turn.
const char* test_path(const char* name);
bool write_test_file(const char* name, const void* data, size_t size);
// "ROOT.tar" of a root file system that holds next to nothing; NULL when it can not be made.
const char* make_root_tar(void);

// On the data directory "data"; NULL after a failed check.
mvm_runtime* open_test_runtime(void);

// As many fds as this process has open, threads as it has.
int count_fds(void);
int count_threads(void);
// Times 20 ms until `holds(argument)`; false after 20 s.
bool eventually(bool (*holds)(void* argument), void* argument);
// Whether the fd is readable within so many ms.
bool readable(int32_t fd, int timeout_ms);

// It can not start a worker (execveat), and is twenty times slower.
bool under_valgrind(void);

// In outputs that a failed call leaves alone.
extern char untouched_mark;
#define UNTOUCHED ((void*)&untouched_mark)
