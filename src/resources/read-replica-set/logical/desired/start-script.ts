import { grantedFunction } from '../../../../postgres/read-model/schema.ts';
import { socketDirectory, tlsDirectory } from '../../../sharded-cluster/desired/parameters.ts';
import { configDirectory, volumeDirectory } from '../../../sharded-cluster/desired/patroni-config.ts';

const data = `${volumeDirectory}/pgdata`;

/**
 * What a member of a read model runs: a server of its own, made when there is none (what it had comes again from the shards),
 * that reads its files again when they change. Nobody is elected, so that no Patroni is needed.
 */
export const startScript = `set -eu
umask 077
exec 9>"${volumeDirectory}/herdsman.lock"
flock -n 9 || { echo "waiting until the former pod of this volume has ended"; flock 9; }
[ ! -d "${data}" ] || chmod 0700 "${data}"

if [ ! -e "${data}/herdsman.initialized" ]; then
  rm -rf "${data}"
  initdb --pgdata="${data}" --username=postgres --auth-local=peer --auth-host=scram-sha-256 --data-checksums \\
    --encoding=UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C.UTF-8 --set=huge_pages=off
  pg_ctl --pgdata="${data}" --wait --silent start \\
    --options="-c listen_addresses='' -c unix_socket_directories='${socketDirectory}'"
  psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --host="${socketDirectory}" --username=postgres --dbname=template1 \\
    --command='GRANT EXECUTE ON FUNCTION ${grantedFunction} TO PUBLIC'
  PGDATA="${data}" herdsman-post-init "host=${socketDirectory} user=postgres dbname=postgres"
  pg_ctl --pgdata="${data}" --wait --silent --mode=fast stop
fi

postgres -D "${data}" -c config_file=${configDirectory}/postgresql.conf -c hba_file=${configDirectory}/pg_hba.conf &
server=$!
trap 'kill -INT "$server"' TERM INT

files() { cat ${configDirectory}/* ${tlsDirectory}/* | sha256sum; }
(
  exec 9>&-
  known=$(files)
  while sleep 5 && kill -0 "$server" 2>/dev/null; do
    now=$(files)
    [ "$now" = "$known" ] || kill -HUP "$server"
    known=$now
  done
) &

while kill -0 "$server" 2>/dev/null; do wait "$server" || true; done
`;
