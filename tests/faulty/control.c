#include "tests/faulty/control.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By system calls: what the C library offers may be what is made to fail. */
struct fault_control *fault_control_map(void)
{
	const char *path = getenv("KAE_FAULT_CONTROL");
	struct fault_control *c;
	long fd;

	if (!path)
		return NULL;
	fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd,
	         0);
	(void)syscall(SYS_close, fd);
	if (c == MAP_FAILED)
		return NULL;
	atomic_store(&c->mapped, 1);
	return c;
}
