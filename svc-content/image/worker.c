#include "svc-content/image/worker.h"

#include "svc-content/image/jail.h"

#include "common/base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes for each pixel at most: four for what is decoded, and as many again with
 * some for what a library has of its own. */
#define BYTES_PER_PIXEL 12
#define BYTES_BESIDES   ((uint64_t)64 << 20)

bool worker_is_asked(int argc, char *const *argv)
{
	return argc == WORKER_WORDS && strcmp(argv[1], WORKER_FLAG) == 0;
}

static bool write_all(const void *p, size_t n)
{
	const char *at = p;

	while (n > 0) {
		ssize_t k = write(STDOUT_FILENO, at, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return false;
		at += k;
		n -= (size_t)k;
	}
	return true;
}

static bool map_input(struct str *out)
{
	struct stat st;
	void *p;

	if (fstat(STDIN_FILENO, &st) != 0 || st.st_size <= 0)
		return false;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, STDIN_FILENO,
	         0);
	if (p == MAP_FAILED)
		return false;
	*out = (struct str){p, (size_t)st.st_size};
	return true;
}

int worker_main(char *const *argv)
{
	struct worker_answer a = {.magic = WORKER_MAGIC};
	int64_t pixels, fit, ms;
	struct picture p = {0};
	struct str in;
	bool told;

	if (!str_to_i64(str_from(argv[2]), &pixels) ||
	    !str_to_i64(str_from(argv[3]), &fit) ||
	    !str_to_i64(str_from(argv[4]), &ms) || pixels < 1 || fit < 1 ||
	    ms < 1 || close_range(3, ~0u, 0) != 0 || !map_input(&in))
		_exit(EXIT_FAILURE);
	if (jail_enter((uint64_t)pixels * BYTES_PER_PIXEL + BYTES_BESIDES,
	               (unsigned)(ms / 1000) + 1)) {
		const struct picture_limits limits = {
			.pixels = (uint64_t)pixels,
			.fit = (unsigned)fit,
			.deadline_ms = mono_ms() + (uint64_t)ms};

		a.fault = picture_read(in, &limits, &p);
		a.w = p.w;
		a.h = p.h;
	} else
		a.fault = WORKER_NO_JAIL;
	told = write_all(&a, sizeof(a)) &&
	       (a.fault || write_all(p.rgb, picture_bytes(&p)));
	/* No handler of exit may want a call that is not allowed any more. */
	_exit(told ? EXIT_SUCCESS : EXIT_FAILURE);
}
