#include "svc-auth/device.h"

#include "common/base/attr.h"

#include <stdio.h>

struct known {
	const char *word, *name;
};

static const struct known programs[] = {
#define PROGRAM(word, name) {word, name},
#define SYSTEM(word, name)
#include "svc-auth/device.def"
#undef PROGRAM
#undef SYSTEM
};

static const struct known systems[] = {
#define PROGRAM(word, name)
#define SYSTEM(word, name) {word, name},
#include "svc-auth/device.def"
#undef PROGRAM
#undef SYSTEM
};

struct str agent_cut(struct str agent, char out[AGENT_MAX])
{
	size_t n = agent.n < AGENT_MAX - 1 ? agent.n : AGENT_MAX - 1;

	/* Back to where a character begins. */
	while (n && n < agent.n && ((unsigned char)agent.p[n] & 0xc0) == 0x80)
		n--;
	for (size_t i = 0; i < n; i++)
		out[i] = (unsigned char)agent.p[i] < ' ' || agent.p[i] == 0x7f
		                 ? ' '
		                 : agent.p[i];
	out[n] = '\0';
	return (struct str){out, n};
}

static const char *first_in(const struct known *list, size_t n,
                            struct str agent)
{
	for (size_t i = 0; agent.n && i < n; i++)
		if (memmem(agent.p, agent.n, list[i].word,
		           strlen(list[i].word)))
			return list[i].name;
	return NULL;
}

struct str device_label(struct str agent, char out[DEVICE_MAX])
{
	const char *program = first_in(programs, COUNTOF(programs), agent);
	const char *system = first_in(systems, COUNTOF(systems), agent);
	int n;

	if (program && system)
		n = snprintf(out, DEVICE_MAX, "%s on %s", program, system);
	else
		n = snprintf(out, DEVICE_MAX, "%s",
		             program  ? program
		             : system ? system
		                      : "Unknown device");
	return (struct str){out, (size_t)n};
}
