/*
 * receipt_cli - `kae-gdpr --verify-receipt FILE [--key FILE]`, and the same of
 * knowalledge: whether a receipt of an erasure is genuine, and what it says.
 *
 * The first file holds the receipt, or the answer of the erasure that it came in.
 * The second holds a JWK or a set of them, as /api/user/erasure-keys answers; with
 * it nothing else is needed: no settings, no database, no network.  Without it the
 * keys are those of our database.
 *
 * Exit:    0 genuine: what it says is on stdout; 1 not, with the reason on
 *          stderr; 2 a file or the database cannot be read.
 */
#ifndef SVC_GDPR_RECEIPT_CLI_H
#define SVC_GDPR_RECEIPT_CLI_H

#include "common/service/program.h"

int receipt_cli(struct program_env *env, int n, char **words);

#define RECEIPT_FLAG                                                      \
	{                                                                 \
		.name = "--verify-receipt", .value = "FILE [--key FILE]", \
		.help = "whether the receipt of an erasure is genuine",   \
		.run_words = receipt_cli,                                 \
	}

#endif
