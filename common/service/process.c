#include "common/service/process.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static void line(struct buf *out, enum metric_kind kind, const char *name,
                 const char *help, double v)
{
	metrics_head(out, kind, name, help);
	metrics_line(out, name, "", v);
}

static double cpu_seconds(void)
{
	struct rusage ru = {0};

	(void)getrusage(RUSAGE_SELF, &ru);
	return (double)ru.ru_utime.tv_sec + (double)ru.ru_stime.tv_sec +
	       (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

/* The second number of statm: resident pages. */
static double resident_bytes(void)
{
	char text[128] = "";
	FILE *f = fopen("/proc/self/statm", "re");
	char *second;

	if (!f)
		return 0;
	second = fgets(text, sizeof(text), f) ? strchr(text, ' ') : NULL;
	(void)fclose(f);
	return second ? (double)strtoull(second, NULL, 10) *
	                        (double)sysconf(_SC_PAGESIZE)
	              : 0;
}

static double entries(const char *folder)
{
	DIR *d = opendir(folder);
	double n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		(void)closedir(d);
	return n > 2 ? n - 2 : 0; /* "." and ".." */
}

static void collect(void *arg, struct buf *out)
{
	const struct process_info *info = arg;
	char labels[128];

	(void)snprintf(labels, sizeof(labels), "program=\"%s\",version=\"%s\"",
	               info->program, info->version);
	metrics_head(out, METRIC_GAUGE, "kae_build_info",
	             "The program and its version; always 1.");
	metrics_line(out, "kae_build_info", labels, 1);
	line(out, METRIC_GAUGE, "process_start_time_seconds",
	     "When the process started, in seconds since 1970.",
	     (double)info->started_ms / 1e3);
	line(out, METRIC_COUNTER, "process_cpu_seconds_total",
	     "CPU time, user and system.", cpu_seconds());
	line(out, METRIC_GAUGE, "process_resident_memory_bytes",
	     "Resident memory.", resident_bytes());
	line(out, METRIC_GAUGE, "process_open_fds", "Open file descriptors.",
	     entries("/proc/self/fd"));
	line(out, METRIC_GAUGE, "process_threads", "Threads.",
	     entries("/proc/self/task"));
	line(out, METRIC_COUNTER, "kae_log_dropped_total",
	     "Log lines dropped because the queue was full.",
	     (double)log_dropped());
}

bool process_metrics(struct metrics *m, struct process_info *info)
{
	info->started_ms = wall_ms();
	return metrics_collector(m, collect, info);
}
