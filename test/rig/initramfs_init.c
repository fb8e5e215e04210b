/*
 * PID 1 of the rig's initramfs, for a kernel that has what the rig's root is on as modules (see
 * cache.sh): loads them, mounts that root and goes on with the program there that the kernel's
 * command line names by rig_init (what is no parameter of the kernel's own is in the environment).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Ends PID 1, and with it the machine: what is said is on its console. */
static void give_up(const char* what) {
  fprintf(stderr, "initramfs_init: panic: %s: %s\n", what, strerror(errno));
  exit(1);
}

/* /modules/1, /modules/2 … in the order they need each other. */
static void load_modules(void) {
  char path[32];
  for (int number = 1;; number++) {
    snprintf(path, sizeof path, "/modules/%d", number);
    int module = open(path, O_RDONLY | O_CLOEXEC);
    if (module < 0 && errno == ENOENT && number > 1) return;
    if (module < 0 || syscall(SYS_finit_module, module, "", 0) != 0) give_up(path);
    close(module);
  }
}

/* As the kernel does itself: nothing can be pivoted away from an initramfs, so the root is moved
 * over it. */
static void enter_root(void) {
  if (mount("root", "/root", "virtiofs", MS_RDONLY, NULL) != 0) give_up("mount virtiofs");
  if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0) give_up("move the root");
  if (chroot(".") != 0 || chdir("/") != 0) give_up("chroot");
}

int main(void) {
  const char* next = getenv("rig_init");
  if (next == NULL) {
    errno = EINVAL;
    give_up("rig_init is not on the kernel's command line");
  }
  load_modules();
  enter_root();
  execl(next, next, (char*)NULL);
  give_up(next);
}
