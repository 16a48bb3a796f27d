/*
 * privacy_doc - docs/privacy.md: the record of processing activities (Art. 30
 * GDPR), from the columns.def of all services.
 */
#ifndef LOCAL_PRIVACY_DOC_H
#define LOCAL_PRIVACY_DOC_H

#include <stdio.h>

void privacy_document(FILE *f);
/* docs/export.schema.json: what an export holds (JSON Schema 2020-12). */
void export_schema(FILE *f);

#endif
