/*
 * device - what a session keeps of where it was opened: enough for its owner to
 * recognise it, too little to follow them.
 *
 * Why:     a list of sessions is of use only when one can tell them apart, and
 *          a full address is personal data that nobody needs for it.
 * Bounds:  DEVICE_MAX, AGENT_MAX, with the NUL.
 * Threads: any.
 */
#ifndef SVC_AUTH_DEVICE_H
#define SVC_AUTH_DEVICE_H

#include "common/base/str.h"

#define AGENT_MAX  201
#define DEVICE_MAX 48

/* The User-Agent without control characters, cut before a character that does
 * not fit. */
struct str agent_cut(struct str agent, char out[AGENT_MAX]);
/* "Firefox on Linux", "curl", "Unknown device". */
struct str device_label(struct str agent, char out[DEVICE_MAX]);

#endif
