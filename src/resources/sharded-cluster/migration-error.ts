/** A migration did not go through. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
  /** Whether somebody has to correct it; otherwise trying again may do. */
  readonly needsCorrection: boolean;

  constructor(needsCorrection: boolean, message: string) {
    super(message);
    this.needsCorrection = needsCorrection;
  }
}
