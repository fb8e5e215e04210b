/*
 * PID 1 of Firecracker's Linux guest: what our agent does for ours, as far as the comparisons need it. Loads the
 * modules, enters the root disk, starts the app that the kernel's command line asks for (app=1: the environment), says
 * READY on the serial console and then obeys lines: "x" runs /bin/true and answers D; "s COMMAND" runs it in a shell and
 * ends its output with "\n=END STATUS\n".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { kAppPort = 8080, kAppAttempts = 60000, kAppPauseUs = 10000 };

static void say(const char* text) {
  if (write(1, text, strlen(text)) < 0) exit(1);
}

/* Ends PID 1, and with it the machine. */
static void give_up(const char* what) {
  dprintf(1, "guest: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void mount_or_give_up(const char* source, const char* target, const char* type) {
  mkdir(target, 0755);
  if (mount(source, target, type, 0, NULL) != 0) give_up(target);
}

static void open_console(void) {
  struct termios raw;
  int console = open("/dev/ttyS0", O_RDWR);
  if (console < 0) exit(1);
  for (int fd = 0; fd < 3; fd++) dup2(console, fd);
  if (tcgetattr(0, &raw) != 0) give_up("ttyS0");
  cfmakeraw(&raw);
  tcsetattr(0, TCSANOW, &raw);
}

/* /modules/1, /modules/2 … in the order they need each other. */
static void load_modules(void) {
  char path[32];
  for (int number = 1;; number++) {
    snprintf(path, sizeof path, "/modules/%d", number);
    int module = open(path, O_RDONLY | O_CLOEXEC);
    if (module < 0 && errno == ENOENT) return;
    if (module < 0 || syscall(SYS_finit_module, module, "", 0) != 0) give_up(path);
    close(module);
  }
}

/* As a kernel does it: nothing can be pivoted away from an initramfs, so the root is moved over it. */
static void enter_root(void) {
  static const char* const kMoved[] = {"/dev", "/proc", "/sys"};
  char target[16];
  mount_or_give_up("/dev/vda", "/root", "ext4");
  for (int i = 0; i < 3; i++) {
    snprintf(target, sizeof target, "/root%s", kMoved[i]);
    if (mount(kMoved[i], target, NULL, MS_MOVE, NULL) != 0) give_up(target);
  }
  if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0) give_up("move the root");
  if (chroot(".") != 0 || chdir("/") != 0) give_up("chroot");
  mount_or_give_up("run", "/run", "tmpfs");
}

static void start_loopback(void) {
  struct ifreq request = {.ifr_name = "lo"};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  request.ifr_flags = IFF_UP;
  if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0) give_up("lo");
  close(fd);
}

static int app_answers(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(kAppPort)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int connected = connect(fd, (struct sockaddr*)&address, sizeof address) == 0;
  close(fd);
  return connected;
}

/* The counter app, which the image of ours has too. Returns when it listens. */
static void start_app(void) {
  static char* const kApp[] = {"/usr/bin/python3", "/server.py", NULL};
  pid_t app = fork();
  if (app == 0) {
    int log = open("/run/app.log", O_WRONLY | O_CREAT, 0644);
    for (int fd = 1; fd < 3; fd++) dup2(log, fd);
    setenv("PORT", "8080", 1);
    setenv("COUNT_FILE", "/var/lib/counter/count", 1);
    execv(kApp[0], kApp);
    _exit(127);
  }
  for (int attempt = 0; !app_answers(); attempt++) {
    if (waitpid(app, NULL, WNOHANG) != 0) give_up("the app ended");
    if (attempt == kAppAttempts) give_up("the app does not answer");
    usleep(kAppPauseUs);
  }
}

static int run(char* const command[]) {
  int status = 0;
  pid_t child = vfork();
  if (child == 0) {
    execv(command[0], command);
    _exit(127);
  }
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void run_in_shell(char* text) {
  char* const kCommand[] = {"/bin/sh", "-c", text, NULL};
  int status = run(kCommand);
  dprintf(1, "\n=END %d\n", status);
}

static void obey(char* line) {
  static char* const kTrue[] = {"/bin/true", NULL};
  if (line[0] == 'x') say(run(kTrue) == 0 ? "D" : "E");
  if (line[0] == 's') run_in_shell(line + 2);
}

static void obey_lines(void) {
  static char line[4096];
  size_t length = 0;
  while (read(0, line + length, 1) == 1) {
    if (line[length] != '\n') {
      if (length + 2 < sizeof line) length++;
      continue;
    }
    line[length] = '\0';
    length = 0;
    obey(line);
  }
}

int main(void) {
  mount_or_give_up("dev", "/dev", "devtmpfs");
  open_console();
  mount_or_give_up("proc", "/proc", "proc");
  mount_or_give_up("sys", "/sys", "sysfs");
  setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
  load_modules();
  enter_root();
  start_loopback();
  if (getenv("app") != NULL) start_app();
  say("READY");
  obey_lines();
  return 1;
}
