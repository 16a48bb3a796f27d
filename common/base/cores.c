#include "common/base/cores.h"

#include "common/base/file.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#define GROUPS   "/sys/fs/cgroup"
#define FILE_MAX ((size_t)4096)

unsigned cores_of_quota(struct str cpu_max)
{
	struct str rest = str_cut(&cpu_max, '\n'), quota = str_cut(&rest, ' ');
	int64_t us, period_us;

	if (!str_to_i64(quota, &us) || !str_to_i64(rest, &period_us) ||
	    us <= 0 || period_us <= 0)
		return UINT_MAX;
	us = us / period_us + (us % period_us > 0);
	return us < UINT_MAX ? (unsigned)us : UINT_MAX;
}

static unsigned of_group(const char *root, struct str path)
{
	AUTO_BUF text = {0};
	char name[FILE_MAX];
	int n = snprintf(name, sizeof(name), "%s%.*s/cpu.max", root,
	                 STR_FMT(path));

	if (n < 0 || (size_t)n >= sizeof(name) ||
	    !file_read(name, FILE_MAX, &text))
		return UINT_MAX; /* the root has no such file */
	return cores_of_quota(buf_view(&text));
}

/* The line of version 2 begins with "0::". */
unsigned cores_of_groups(const char *root, struct str groups)
{
	unsigned least = UINT_MAX;
	struct str path;

	do
		path = str_cut(&groups, '\n');
	while (!str_starts(path, STR("0::")) && groups.n > 0);
	if (!str_starts(path, STR("0::/")))
		return UINT_MAX;
	path = (struct str){path.p + 3, path.n - 3};
	path.n = path.n == 1 ? 0 : path.n; /* the root's own name is "/" */
	for (;;) {
		unsigned n = of_group(root, path);

		least = n < least ? n : least;
		if (path.n == 0)
			return least;
		while (path.p[--path.n] != '/')
			;
	}
}

unsigned cores_usable(void)
{
	AUTO_BUF groups = {0};
	unsigned quota =
		file_read("/proc/self/cgroup", FILE_MAX, &groups)
			? cores_of_groups("/sys/fs/cgroup", buf_view(&groups))
			: UINT_MAX;
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	/* Fails where there are more than such a set can hold. */
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = CPU_COUNT(&set);
	if (n < 1)
		return 1;
	return quota < (unsigned long)n ? quota : (unsigned)n;
}
