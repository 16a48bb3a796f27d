/*
 * network_policies - deploy/k8s/base/network-policies.yaml: who may reach whom
 * in a cluster, from the edges that the bus itself allows (design D11).
 */
#ifndef LOCAL_NETWORK_POLICIES_H
#define LOCAL_NETWORK_POLICIES_H

#include <stdio.h>

void network_policies(FILE *f);

#endif
