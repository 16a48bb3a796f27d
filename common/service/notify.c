#include "common/service/notify.h"

#include "common/base/clock.h"
#include "common/base/str.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void send_text(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t n = path ? strlen(path) : 0;
	int fd;

	if (n < 2 || n >= sizeof(to.sun_path) || (*path != '/' && *path != '@'))
		return;
	memcpy(to.sun_path, path, n);
	if (*path == '@') /* the abstract namespace */
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, text, strlen(text), MSG_NOSIGNAL,
	              (const struct sockaddr *)&to,
	              (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	(void)close(fd);
}

void notify_ready(void)
{
	send_text("READY=1\nSTATUS=ready");
}

void notify_reloading(void)
{
	char text[96];

	(void)snprintf(text, sizeof(text),
	               "RELOADING=1\nMONOTONIC_USEC=%" PRIu64
	               "\nSTATUS=reading the settings again",
	               mono_ms() * 1000);
	send_text(text);
}

void notify_stopping(void)
{
	send_text("STOPPING=1\nSTATUS=finishing what is in flight");
}

void notify_alive(void)
{
	send_text("WATCHDOG=1");
}

uint64_t notify_every_ms(void)
{
	const char *limit = getenv("WATCHDOG_USEC"),
		   *pid = getenv("WATCHDOG_PID");
	int64_t us, whose;

	if (!limit || !str_to_i64(str_from(limit), &us) || us <= 0 ||
	    (pid && (!str_to_i64(str_from(pid), &whose) ||
	             whose != (int64_t)getpid())))
		return 0;
	return (uint64_t)us / 2000; /* twice as often as it must be */
}
