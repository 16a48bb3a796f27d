/*
 * task - functions that take turns on one thread: each has a stack of its own
 * and runs until it yields, so that a simulation can stop blocking code at any
 * place that it stands in for (a send, a commit) and run another process's.
 *
 * Threads: one per struct tasks.
 */
#ifndef TESTS_SIM_TASK_H
#define TESTS_SIM_TASK_H

#include "common/base/attr.h"

#include <stdbool.h>

struct tasks;
struct task;

struct tasks *tasks_new(void);     /* NULL without memory */
void tasks_free(struct tasks *ts); /* all tasks must have ended */
AUTO_TYPE(tasks, struct tasks *, tasks_free)

/* Makes a task that has not begun; NULL without memory. */
struct task *task_new(struct tasks *ts, void (*fn)(void *arg), void *arg);
/* Runs it until it yields; false when it has ended and is gone. */
bool task_resume(struct tasks *ts, struct task *t);
/* Back to who resumed it; for the running task only. */
void task_yield(struct tasks *ts);

#endif
