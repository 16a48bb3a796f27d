/*
 * device - what a session keeps of where it was opened: enough for its owner to
 * recognise it, too little to follow them.
 *
 * Why:     a list of sessions is of use only when one can tell them apart, and
 *          a full address is personal data that nobody needs for it.
 * Bounds:  DEVICE_MAX, AGENT_MAX, PREFIX_MAX, with the NUL.
 * Threads: any.
 */
#ifndef SVC_AUTH_DEVICE_H
#define SVC_AUTH_DEVICE_H

#include "common/base/str.h"

#define PREFIX_MAX 48
#define AGENT_MAX  201
#define DEVICE_MAX 48

/* "203.0.113.0/24" or "2001:db8:1:2::/64"; empty for what is no address. */
struct str address_prefix(struct str ip, char out[PREFIX_MAX]);
/* The User-Agent without control characters, cut before a character that does
 * not fit. */
struct str agent_cut(struct str agent, char out[AGENT_MAX]);
/* "Firefox on Linux", "curl", "Unknown device". */
struct str device_label(struct str agent, char out[DEVICE_MAX]);

#endif
