import { z } from 'zod';
import { atomicMap, cel, set } from './common.ts';

const isBalanced = "self.type == 'LoadBalancer'";

/** `PoolerConfig.spec.service`. */
export const poolerService = z
  .object({
    type: z
      .enum(['ClusterIP', 'NodePort', 'LoadBalancer'])
      .default('ClusterIP')
      .describe(
        'ClusterIP is reached from within the Kubernetes cluster only, NodePort at a port of every node, LoadBalancer at an ' +
          'address that the cloud, or whoever makes load balancers, gives it.',
      ),
    annotations: z
      .record(z.string().max(317), z.string().max(4096))
      .optional()
      .describe('Annotations of the Service, as a cloud reads them, or external-dns.')
      .meta({ ...atomicMap, maxProperties: 32 }),
    names: z
      .array(
        z
          .string()
          .max(253)
          .regex(/^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/),
      )
      .max(16)
      .default([])
      .describe(
        'Host names beside those of the Service by which clients reach it, such as db.example.com: the certificate is valid for ' +
          'these, too (sslmode=verify-full). Where they lead to is not looked at. Pgpool-II is started anew for it, instance by instance.',
      )
      .meta(set),
    loadBalancerClass: z
      .string()
      .max(317)
      .optional()
      .describe('Who makes the load balancer, where it is not the default of the cluster.'),
    loadBalancerSourceRanges: z
      .array(
        z
          .string()
          .max(43)
          .meta(cel({ rule: 'isCIDR(self)', message: 'write an address range, such as 10.0.0.0/8' })),
      )
      .max(64)
      .optional()
      .describe('Addresses from which the load balancer takes clients; none: all.')
      .meta(set),
    externalTrafficPolicy: z
      .enum(['Cluster', 'Local'])
      .optional()
      .describe(
        'Local keeps the addresses of clients from outside, and reaches only instances on the node that they come to. Default Cluster.',
      ),
  })
  .describe('The Service that clients connect to. PgBouncer goes on through every change of it.')
  .meta(
    cel(
      {
        rule: `${isBalanced} || !has(self.loadBalancerClass) && !has(self.loadBalancerSourceRanges)`,
        message:
          'loadBalancerClass and loadBalancerSourceRanges belong to type "LoadBalancer": write that, or leave them out',
        fieldPath: '.type',
      },
      {
        rule: "self.type != 'ClusterIP' || !has(self.externalTrafficPolicy)",
        message:
          'externalTrafficPolicy belongs to type "NodePort" or "LoadBalancer": write one of these, or leave it out',
        fieldPath: '.externalTrafficPolicy',
      },
      {
        rule:
          `!(${isBalanced} && oldSelf.type == 'LoadBalancer') || ` +
          'has(self.loadBalancerClass) == has(oldSelf.loadBalancerClass) && ' +
          '(!has(self.loadBalancerClass) || self.loadBalancerClass == oldSelf.loadBalancerClass)',
        message:
          'Kubernetes does not change the class of a load balancer: write type "ClusterIP" first, then "LoadBalancer" with the other class',
        fieldPath: '.loadBalancerClass',
      },
      {
        rule: "!has(self.annotations) || self.annotations.all(key, !key.startsWith('herdsman.dev/'))",
        message: "annotations that begin with herdsman.dev/ are the operator's: use other ones",
        fieldPath: '.annotations',
      },
    ),
  );
