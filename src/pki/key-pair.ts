/** A certificate and its private key (PKCS #8), both in PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}
