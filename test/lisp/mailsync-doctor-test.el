;;; mailsync-doctor-test.el --- Each finding of the doctor, provoked  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What the doctor finds on disks and machines that are as a test makes them,
;; by the real module.  What no test can make of a machine (a dead mount, a
;; kernel that refuses) is in src/errand/examine/findings/tests.rs; what Gnus
;; has to say, in mailsync-doctor-gnus-test.el.

;;; Code:

(require 'mailsync-test-helper)
(require 'mailsync-doctor)

(defvar auth-sources)
(defvar gnus-demon-handlers)

;;;; Helpers

(defun doctor-test-snapshot (directory)
  "Everything below DIRECTORY: names, times, modes and what is in files."
  (mapcar (lambda (file)
            (let ((attributes (file-attributes file)))
              (list file
                    (file-attribute-modification-time attributes)
                    (file-attribute-modes attributes)
                    (file-attribute-size attributes)
                    (and (eq (file-attribute-type attributes) nil)
                         (with-temp-buffer
                           (set-buffer-multibyte nil)
                           (insert-file-contents-literally file)
                           (secure-hash 'md5 (current-buffer)))))))
          (directory-files-recursively directory "" t)))

(defun doctor-test-wait ()
  "Wait until the doctor is done; return what it found."
  (test-wait (lambda () (null mailsync-doctor--waiting)) 60)
  mailsync-doctor--findings)

(defun doctor-test-run ()
  "Run the doctor; return what it found."
  (save-window-excursion
    (let ((inhibit-message t))
      (mailsync-doctor)))
  (prog1 (doctor-test-wait)
    (unless mailsync-mode
      ;; The engine that was started for it has ended.
      (should-not mailsync--running))))

(defmacro doctor-test-with (&rest body)
  "Run BODY with a new directory `root' as home, which a run must not change."
  (declare (indent 0))
  `(let* ((root (file-truename (make-temp-file "mailsync-doctor" t)))
          (process-environment
           (append (list (concat "HOME=" root)
                         (format "XDG_RUNTIME_DIR=%s/run" root)
                         "XDG_CONFIG_HOME")
                   process-environment))
          (mailsync-accounts nil))
     (make-directory (expand-file-name "run" root))
     (set-file-modes (expand-file-name "run" root) #o700)
     (unwind-protect
         (cl-letf (((default-value 'process-environment) process-environment))
           ,@body)
       (mailsync-doctor--end)
       (test-wait (lambda ()
                    (or (not (fboundp 'mailsync-module--threads))
                        mailsync-mode
                        (zerop (mailsync-module--threads)))))
       (delete-directory root t))))

(defun doctor-test-maildirs (root &rest names)
  "Make maildirs NAMES below ROOT."
  (dolist (name names)
    (test-maildir (expand-file-name name root))))

(defun doctor-test-write (file &rest lines)
  "Write LINES into FILE."
  (make-directory (file-name-directory file) t)
  (write-region (mapconcat (lambda (line) (concat line "\n")) lines "")
                nil file nil 'silent))

(defun doctor-test-found (findings check level text)
  "The one of FINDINGS by CHECK, of LEVEL, that says TEXT, a regexp."
  (seq-find (lambda (finding)
              (and (equal (nth 1 finding) check)
                   (eq (nth 2 finding) level)
                   (let ((case-fold-search nil))
                     (string-match-p text (nth 3 finding)))))
            findings))

(defun doctor-test-should (findings &rest rows)
  "FINDINGS have one for each of ROWS, (CHECK LEVEL TEXT REMEDY PLACE).
TEXT and REMEDY are regexps; each that is not ok says what to do."
  (pcase-dolist (`(,check ,level ,text ,remedy ,place) rows)
    (let ((found (doctor-test-found findings check level text)))
      (unless found
        (ert-fail (list 'missing check level text :in findings)))
      (when remedy
        (should (string-match-p remedy (nth 4 found))))
      (when place
        (should (equal (nth 5 found) place)))))
  (dolist (finding findings)
    (should (memq (nth 2 finding) '(ok note warning problem)))
    (should (eq (eq (nth 2 finding) 'ok) (equal (nth 4 finding) "")))))

(defconst doctor-test-accounts "option mailsync-accounts"
  "Where most is mended.")

;;;; Versions

(ert-deftest doctor-test-module-and-emacs ()
  "What is said of each state of the module and of Emacs."
  (let ((ours mailsync-module--version-wanted))
    (pcase-dolist
        (`(,arguments ,level ,text ,remedy)
         `((("0.0.1" ,ours t t) problem "runs is version 0\\.0\\.1" "restart Emacs")
           ((nil nil t t) problem "there is no module" "\\`M-x mailsync-module-compile")
           ((nil nil nil t) problem "there is no module" "install Rust.*module-compile")
           ((nil nil t nil) problem "there is no module" "with its sources")
           ((nil "0.0.1" t t) problem "disk is version 0\\.0\\.1" "module-compile")
           ((,ours "0.0.1" t t) problem "disk is version 0\\.0\\.1" "module-compile")
           ((nil ,ours t t) ok "alike; not loaded" "\\`\\'")
           ((,ours ,ours nil nil) ok "alike\\'" "\\`\\'")
           ;; Somebody has removed the file, and it runs.
           ((,ours nil nil nil) ok "alike\\'" "\\`\\'")))
      (let ((found (apply #'mailsync-doctor--module arguments)))
        (should (equal (nth 1 found) "module"))
        (should (eq (nth 2 found) level))
        (should (string-match-p text (nth 3 found)))
        (should (string-match-p remedy (nth 4 found))))))
  (pcase-dolist (`(,version ,suffix ,level ,text)
                 '(("29.1" nil problem "cannot load modules")
                   ("27.2" ".so" problem "needs 28\\.1")
                   ("30.1" ".so" ok "Emacs 30\\.1")))
    (let ((found (mailsync-doctor--emacs version suffix)))
      (should (eq (nth 2 found) level))
      (should (string-match-p text (nth 3 found))))))

(ert-deftest doctor-test-without-a-module ()
  "Where there is no module, what Lisp can find is found, and what to do."
  (let* ((directory (make-temp-file "mailsync-module" t))
         (process-environment (append (list (concat "MODULE_DIR=" directory)
                                            (concat "HOME=" directory))
                                      process-environment)))
    (unwind-protect
        (pcase-dolist
            (`(,version ,junk ,text)
             '((nil nil "^problem +mailsync, module: there is no module")
               ("0.0.1" "junk" "^problem +mailsync, module: the module on the disk")
               (t "junk" "^problem +mailsync, module: .*cannot be loaded")))
          (when junk
            (doctor-test-write (expand-file-name
                                (concat "mailsync-engine" module-file-suffix)
                                directory)
                               junk)
            (doctor-test-write (expand-file-name "mailsync-engine.version" directory)
                               (if (eq version t)
                                   mailsync-module--version-wanted
                                 version)))
          (with-temp-buffer
            (test-emacs "--eval" "(require 'mailsync-doctor)"
                        "--eval" "(setq mailsync-module-directory (getenv \"MODULE_DIR\")
                                        mailsync-base-delay \"soon\")"
                        "--eval" "(mailsync-doctor)"
                        "--eval" "(princ (with-current-buffer \"*mailsync-doctor*\"
                                           (buffer-string)))")
            (let ((said (buffer-string)))
              (dolist (text (list text "Do: .*module-compile"
                                  "mailsync-base-delay is not of its type"
                                  "That is all"))
                (unless (string-match-p text said)
                  (ert-fail (list 'missing text :in said)))))))
      (delete-directory directory t))))

(ert-deftest doctor-test-versions-of-syncers ()
  "What is said of a syncer that says its version, or does not."
  (pcase-dolist (`(,kind ,output ,level ,text)
                 '(("mbsync" "isync 1.4.4\n" ok "is version 1\\.4\\.4")
                   ("mbsync" "isync 1.3.0\n" note "1\\.3\\.0; mailsync is tested with isync")
                   ("offlineimap" "8.0.0\n" ok "is version 8\\.0\\.0")
                   ("offlineimap" "7.3.4\n" note "7\\.3\\.4")
                   ("mbsync" "" problem "no version: exited")
                   ("mbsync" "x\nNo library\n" problem "No library")))
    (let ((found (mailsync-doctor--version kind "/bin/it" output "exited\n")))
      (should (eq (nth 2 found) level))
      (should (string-match-p (replace-regexp-in-string
                               "no version" "does not say its version" text)
                              (nth 3 found))))))

;;;; Maildirs

(ert-deftest doctor-test-maildirs ()
  "What can be wrong with directories, and what the doctor says."
  (doctor-test-with
    (doctor-test-maildirs root "good/INBOX" "good/a/b" "plus" "plus/.x.y" "mixed"
                          "mixed/.x" "mixed/y" "shared/z" "foreign/z" "polled/z")
    (make-directory (expand-file-name "empty" root))
    (doctor-test-write (expand-file-name "file" root) "x")
    (when (zerop (user-uid))
      (call-process "chown" nil nil nil "12345" (expand-file-name "foreign" root)))
    (cl-flet ((account (name &rest keys)
                (append (list name :maildir (expand-file-name name root)) keys)))
      (setq mailsync-accounts
            (list (account "good") (account "none") (account "file")
                  (account "empty") (account "plus" :layout 'nested)
                  (account "mixed") (account "shared")
                  (cons "other" (cdr (account "shared")))
                  (account "foreign") (account "polled" :poll 30))))
    (let* ((before (doctor-test-snapshot root))
           (findings (doctor-test-run)))
      (should (equal (doctor-test-snapshot root) before))
      (doctor-test-should
       findings
       `("layout" ok "2 folders in .*/good, nested" nil "")
       `("file system" ok "/good is on " nil "")
       `("syncer" ok "no :syncer" nil "")
       `("directory" problem "there is no directory .*/none\\'" "make it"
         ,doctor-test-accounts)
       `("directory" problem "/file is not a directory" ":maildir"
         ,doctor-test-accounts)
       `("folders" warning "no folder is in .*/empty" ":maildir"
         ,doctor-test-accounts)
       `("layout" warning "1 folder in .*/plus, such as x/y, .*nested" ":layout"
         ,doctor-test-accounts)
       `("layout" note "/mixed has two layouts: 1 .* 1 " ":layout"
         ,doctor-test-accounts)
       `("directory" warning "/shared is a maildir of other, too" "one account"
         ,doctor-test-accounts)
       `("file system" note "/polled is on .*looked at every 30 s" ":poll"
         ,doctor-test-accounts)
       `("sleep and network" ok "the kernel tells of sleep" nil "")
       `("XDG_RUNTIME_DIR" ok "/run/mailsync" nil "")
       `("state" note "mailsync is off" "mailsync-start" "command mailsync-start")
       `("accounts" ok "configured: good, none" nil ""))
      ;; How much the machine allows, and others use, is its own business.
      (dolist (text '("\\`[1-9][0-9]+ watched directories needed; [0-9]+ allowed"
                      "\\`7 watchers needed; [0-9]+ allowed, [0-9]+ of them in use"
                      "\\`21 open files needed"))
        (should (seq-find (lambda (finding)
                            (and (equal (nth 1 finding) "limits")
                                 (string-match-p text (nth 3 finding))))
                          findings)))
      (when (zerop (user-uid))
        (doctor-test-should
         findings
         '("directory" warning "/foreign belongs to the user number 12345" "chown"
           ""))))))

(ert-deftest doctor-test-unreadable ()
  "What may not be read is said, with the way to read it."
  (skip-unless (not (zerop (user-uid))))
  (doctor-test-with
    (doctor-test-maildirs root "mail/a" "mail/b")
    (set-file-modes (expand-file-name "mail/b" root) 0)
    (setq mailsync-accounts (list (list "w" :maildir (expand-file-name "mail" root))))
    (unwind-protect
        (doctor-test-should (doctor-test-run)
                            '("folders" warning "1 directory in .*/mail cannot be read"
                              "chmod" ""))
      (set-file-modes (expand-file-name "mail/b" root) #o700))))

;;;; Syncers

(ert-deftest doctor-test-mbsync ()
  "What mbsync's configuration says, compared with the account."
  (doctor-test-with
    (doctor-test-maildirs root "mail/INBOX" "mail/a" "mail/only-here" "mail/ignored"
                          "elsewhere/c" "apart/x")
    (doctor-test-write
     (expand-file-name ".mbsyncrc" root)
     "IMAPAccount acc" "Host localhost" "Timeout 0" ""
     "IMAPAccount slow" "Host localhost" "Timeout 400" ""
     "IMAPStore far" "Account acc" ""
     "MaildirStore near" "Path ~/mail/" "Inbox ~/mail/INBOX" "SubFolders Verbatim" ""
     "MaildirStore other" "Path ~/elsewhere/" "Inbox ~/elsewhere/INBOX" ""
     "Channel c" "Far :far:" "Near :near:" "Patterns INBOX a" ""
     "Channel o" "Far :far:" "Near :other:" "Patterns c" ""
     "Group both" "Channels c o")
    (let ((mail (expand-file-name "mail" root)))
      (setq mailsync-accounts
            `(("w" :maildir ,mail :syncer (mailsync-mbsync "both")
               :ignore ("ignored"))
              ("none" :maildir ,mail :syncer (mailsync-mbsync "nonesuch"))
              ("apart" :maildir ,(expand-file-name "apart" root)
               :syncer (mailsync-mbsync "c"))
              ("gone" :maildir ,mail :syncer (mailsync-mbsync :executable "/no/mbsync"))
              ("rc" :maildir ,mail :syncer (mailsync-mbsync :config "/no/rc")))))
    (let* ((before (doctor-test-snapshot root))
           (findings (doctor-test-run))
           (rc (format "file %s/.mbsyncrc" root)))
      (should (equal (doctor-test-snapshot root) before))
      (doctor-test-should
       findings
       `("syncer's file" note "no channel syncs 1 folder: only-here" "Patterns" ,rc)
       `("syncer's file" warning "keeps mail in .*/elsewhere (MaildirStore other)"
         "add .*/elsewhere to :maildir" ,doctor-test-accounts)
       `("syncer's file" problem "no channel or group nonesuch" "correct the name"
         ,doctor-test-accounts)
       `("syncer's file" problem "mbsync syncs none of the 1 folder of" ":maildir"
         ,doctor-test-accounts)
       `("syncer's file" problem "/no/rc cannot be read" ":config"
         ,doctor-test-accounts)
       `("syncer" problem "/no/mbsync does not exist" "install it"
         ,doctor-test-accounts)
       `("syncer" ok "mbsync is version [0-9.]+" nil "")
       `("time-outs" warning "for ever.*of acc" "Timeout 20" ,rc)
       `("time-outs" note "400 s .*(slow).* 300 s" "raise"
         "option mailsync-sync-timeout")
       `("lock" ok "no other Emacs" nil ""))
      ;; That it is not synced is meant so.
      (should-not (seq-find (lambda (finding)
                              (and (equal (car finding) "account \"w\"")
                                   (string-match-p "ignored" (nth 3 finding))))
                            findings)))))

(ert-deftest doctor-test-offlineimap ()
  "What OfflineIMAP's configuration says, and who has its lock."
  (doctor-test-with
    (doctor-test-maildirs root "mail/INBOX" "mail/a" "apart/x")
    (doctor-test-write
     (expand-file-name ".offlineimaprc" root)
     "[general]" "accounts = A" "metadata = ~/meta"
     "[Account A]" "localrepository = L" "remoterepository = R"
     "[Repository L]" "type = Maildir" "localfolders = ~/mail" "sep = /"
     "[Repository R]" "type = IMAP" "remotehost = localhost" "maxconnections = 9")
    (make-directory (expand-file-name "meta" root))
    (setq mailsync-accounts
          `(("w" :maildir ,(mapcar (lambda (name) (expand-file-name name root))
                                   '("mail" "apart"))
             :syncer (mailsync-offlineimap "A"))))
    (let ((rc (format "file %s/.offlineimaprc" root))
          (holder (doctor-test-hold 'posix (expand-file-name "meta/A.lock" root))))
      (unwind-protect
          (let ((before (doctor-test-snapshot root)))
            (doctor-test-should
             (doctor-test-run)
             `("syncer's file" note "does not sync 1 folder: x" "localfolders" ,rc)
             `("time-outs" warning "for ever" "socktimeout = 60" ,rc)
             `("time-outs" note "9 connections" "maxconnections" ,rc)
             `("lock" note ,(format "process %d holds" (process-id holder)) "end" "")
             '("syncer" ok "offlineimap is version [0-9.]+" nil ""))
            (should (equal (doctor-test-snapshot root) before)))
        (delete-process holder)))
    (doctor-test-write
     (expand-file-name ".offlineimaprc" root)
     "[general]" "accounts = A" "metadata = ~/meta" "socktimeout = 60"
     "[Account A]" "localrepository = L" "remoterepository = R"
     "[Repository L]" "type = Maildir" "localfolders = ~/mail" "sep = /"
     "[Repository R]" "type = IMAP" "nametrans = lambda name: name")
    (setcdr (assoc "w" mailsync-accounts)
            (plist-put (cdr (assoc "w" mailsync-accounts)) :maildir
                       (expand-file-name "mail" root)))
    (doctor-test-should (doctor-test-run)
                        '("syncer's file" ok "up to 2 folders; Python" nil "")
                        '("time-outs" ok "at most 60 s" nil ""))))

(defun doctor-test-hold (kind file &optional text)
  "Have another process hold a lock of KIND on FILE, which says TEXT.
Return that process, which has it."
  (let* ((script "import fcntl, sys, os
kind, file = sys.argv[1:3]
text = sys.argv[3] if len(sys.argv) > 3 else ''
f = open(file, 'w')
f.write(str(os.getpid()) + '\\n' if text == 'pid' else text)
f.flush()
(fcntl.lockf if kind == 'posix' else fcntl.flock)(f, fcntl.LOCK_EX)
print('held', flush=True)
sys.stdin.read()")
         (said "")
         (process (make-process :name "holder" :noquery t :connection-type 'pipe
                                :command (append (list "python3" "-c" script
                                                       (symbol-name kind) file)
                                                 (and text (list text)))
                                :filter (lambda (_ text)
                                          (setq said (concat said text))))))
    (test-wait (lambda () (string-match-p "held" said)))
    process))

(ert-deftest doctor-test-locks ()
  "Who has the account's lock is said: another Emacs, a run, or this Emacs."
  (doctor-test-with
    (doctor-test-maildirs root "mail/a")
    (let* ((mail (expand-file-name "mail" root))
           (locks (expand-file-name "run/mailsync" root))
           (case-fold-search nil)
           (name (replace-regexp-in-string
                  "[A-Z]" (lambda (letter) (concat "^" (downcase letter)))
                  (string-replace "/" "%2f" mail) t)))
      (setq mailsync-accounts
            `(("w" :maildir ,mail :syncer (mailsync-command "true"))))
      (make-directory locks)
      (set-file-modes locks #o700)
      (pcase-dolist (`(,suffix ,level ,text ,remedy)
                     '(("lock" note "another Emacs (process %d)" "takes over")
                       ("run" warning "a sync (process %d) whose Emacs is gone"
                        "kill")))
        (let ((holder (doctor-test-hold
                       'flock (expand-file-name (concat name "." suffix) locks)
                       "pid")))
          (unwind-protect
              (let ((before (doctor-test-snapshot root)))
                (doctor-test-should
                 (doctor-test-run)
                 `("lock" ,level ,(format text (process-id holder)) ,remedy "")
                 `("syncer" ok "true is /.*/true" nil ""))
                (should (equal (doctor-test-snapshot root) before)))
            (delete-process holder))))
      (mailsync-mode 1)
      (unwind-protect
          (progn
            (test-watching "w")
            (test-wait (lambda ()
                         (doctor-test-found (doctor-test-run) "lock" 'ok
                                            "this Emacs syncs it")))
            (doctor-test-should mailsync-doctor--findings
                                '("state" ok "mailsync is on" nil "")))
        (mailsync-mode -1)
        (test-wait (lambda () (zerop (mailsync-module--threads))))))))

;;;; The machine

(ert-deftest doctor-test-runtime-directory ()
  "Where locks are is said, and why they are not where they should be."
  (doctor-test-with
    (doctor-test-maildirs root "mail/a")
    (setq mailsync-accounts `(("w" :maildir ,(expand-file-name "mail" root))))
    (let ((process-environment (cons "XDG_RUNTIME_DIR" process-environment)))
      (doctor-test-should (doctor-test-run)
                          '("XDG_RUNTIME_DIR" note "not set; locks are in" "set it" "")))
    (set-file-modes (expand-file-name "run" root) #o777)
    (doctor-test-should (doctor-test-run)
                        '("XDG_RUNTIME_DIR" warning
                          "/run cannot be used (others may write" "login session" ""))))

(ert-deftest doctor-test-socket ()
  "What `mailsync-listen' comes to is said."
  (doctor-test-with
    (doctor-test-maildirs root "mail/a")
    (setq mailsync-accounts `(("w" :maildir ,(expand-file-name "mail" root))))
    (make-directory (expand-file-name "private" root))
    (set-file-modes (expand-file-name "private" root) #o700)
    (make-directory (expand-file-name "public" root))
    (set-file-modes (expand-file-name "public" root) #o755)
    (let ((mailsync-listen (expand-file-name "public/s" root)))
      (doctor-test-should (doctor-test-run)
                          '("socket" problem "/public can be entered by others"
                            "of your own" "option mailsync-listen")))
    (let ((mailsync-listen (expand-file-name "private/s" root)))
      (doctor-test-should (doctor-test-run)
                          '("socket" warning "no socket is at .*/private/s"
                            "mailsync-start" "command mailsync-restart"))
      (let ((server (make-network-process :name "s" :server t :family 'local
                                          :service mailsync-listen :noquery t)))
        (unwind-protect
            (doctor-test-should (doctor-test-run)
                                '("socket" ok "programs are told at" nil ""))
          (delete-process server))))))

;;;; What Lisp alone can tell

(ert-deftest doctor-test-options ()
  "The defaults are of their types; what is not, and what is no option, is said."
  ;; Whatever is loaded, and whatever is not.
  (dolist (library '(mailsync-notify mailsync-mode-line))
    (require library))
  (doctor-test-should (mailsync-doctor-check-options)
                      '("options" ok "all options" nil ""))
  (pcase-dolist (`(,option ,value)
                 '((mailsync-base-delay "5") (mailsync-ignore-folders ("a" 2))
                   (mailsync-accounts "mail") (mailsync-inter-delay (("x" . "5")))
                   (mailsync-check-function 5) (mailsync-log-level loud)))
    (cl-progv (list option) (list value)
      (doctor-test-should (mailsync-doctor-check-options)
                          `("options" warning
                            ,(format "value of %s is not of its type" option)
                            ,(format "correct %s" option)
                            ,(format "option %s" option)))))
  (set (intern "mailsync-bsae-delay") 5)
  (unwind-protect
      (doctor-test-should (mailsync-doctor-check-options)
                          '("options" warning "no option mailsync-bsae-delay"
                            "correct its name" "group mailsync"))
    (unintern "mailsync-bsae-delay" nil)))

(ert-deftest doctor-test-hooks ()
  "A function that is not there, or that has signaled, is said."
  (let ((mailsync--said nil)
        (mailsync-changed-functions (list #'ignore))
        (inhibit-message t))
    (doctor-test-should (mailsync-doctor-check-hooks)
                        '("hooks" ok "no function" nil ""))
    (let ((mailsync-changed-functions '(doctor-test-nonesuch)))
      (doctor-test-should (mailsync-doctor-check-hooks)
                          '("hooks" problem "doctor-test-nonesuch.*no function"
                            "define it" "option mailsync-changed-functions")))
    (let ((mailsync-changed-functions (list #'doctor-test-signals)))
      (mailsync--run-hook-safely 'mailsync-changed-functions "w" nil)
      (doctor-test-should (mailsync-doctor-check-hooks)
                          '("hooks" warning "doctor-test-signals in .*has signaled"
                            "mend it" "command mailsync-log")))))

(defun doctor-test-signals (&rest _)
  "Signal."
  (error "On purpose"))

(ert-deftest doctor-test-accounts ()
  "What is wrong in the configuration is said, and nothing in force is changed."
  (let ((mailsync-accounts--valid '(("old" :maildir "/x")))
        (mailsync-accounts--faults '("old"))
        (mailsync--said nil)
        (mailsync-accounts '(("good" :maildir "/x")
                             ("bad" :maildr "/x")
                             ("syncer" :maildir "/x" :syncer doctor-test-nonesuch))))
    (pcase-let ((`(,accounts ,_ ,faults) (mailsync-doctor-read)))
      (should (equal (mapcar #'car accounts) '("good" "syncer")))
      (doctor-test-should
       (mailsync-doctor-check-accounts accounts faults)
       `("accounts" problem "bad.*no key :maildr" "correct" ,doctor-test-accounts)
       `("accounts" problem "no function .doctor-test-nonesuch" "correct"
         ,doctor-test-accounts)))
    (should (equal mailsync-accounts--faults '("old")))
    (should (equal mailsync-accounts--valid '(("old" :maildir "/x"))))
    (should-not mailsync--said)
    (let ((mailsync-mode t))
      (doctor-test-should
       (mailsync-doctor-check-accounts '(("new" :maildir "/x")) nil)
       '("accounts" warning "has changed since" "mailsync-restart"
         "command mailsync-restart")))
    (let ((mailsync-accounts 'none))
      (let ((mailsync-gnus-watch-nnimap t))
        (doctor-test-should (mailsync-doctor-check-accounts nil nil)
                            '("accounts" ok "no server open" nil "")))
      (let ((mailsync-gnus-watch-nnimap nil))
        (doctor-test-should (mailsync-doctor-check-accounts nil nil)
                            '("accounts" problem "none, and nothing of Gnus's"
                              "set mailsync-gnus-watch-nnimap"
                              "option mailsync-gnus-watch-nnimap"))))
    (doctor-test-should (mailsync-doctor-check-accounts nil nil)
                        `("accounts" problem "no account" "write one"
                          ,doctor-test-accounts))
    (let ((mailsync-accounts nil))
      (doctor-test-should
       (mailsync-doctor-check-accounts '(("mail" :maildir "~/Maildir")) nil)
       '("accounts" ok "is nil: \"mail\" for ~/Maildir" nil "")))))

(ert-deftest doctor-test-state ()
  "What the engine has said of accounts is said again, with what to do."
  (let ((mailsync-mode t)
        (mailsync--breaks nil)
        (mailsync-accounts--valid '(("w" :maildir "/x")))
        (mailsync--states nil)
        (mailsync-sync--states nil)
        (mailsync-remote--states nil))
    (cl-letf (((symbol-function 'mailsync-module--status) #'ignore))
      (doctor-test-should (mailsync-doctor-check-state)
                          '("state" ok "is on" nil ""))
      (let ((mailsync--states '(("w" error . "why"))))
        (doctor-test-should (mailsync-doctor-check-state)
                            '("state" problem "not watched: why" "restart"
                              "command mailsync-restart")))
      (let ((mailsync--states '(("w" waiting . "it is away"))))
        (doctor-test-should (mailsync-doctor-check-state)
                            '("state" note "it is away" "nothing" "")))
      (pcase-dolist (`(,phase ,level ,text ,place)
                     '((failing problem "syncs fail: why" "command mailsync-output")
                       (paused warning "syncs are paused: why"
                               "command mailsync-resume")))
        (let ((mailsync-sync--states `(("w" :phase ,phase :text "why"))))
          (doctor-test-should (mailsync-doctor-check-state)
                              `("state" ,level ,text "M-x" ,place))))
      (pcase-dolist (`(,state ,level ,text ,place)
                     '((paused problem "not watched: why" "command mailsync-resume")
                       (waiting warning "cannot be watched now: why"
                                "command mailsync-doctor-try")))
        (let ((mailsync-remote--states
               `((("w" . 0) :what "imap" :state ,state :text "why"))))
          (doctor-test-should (mailsync-doctor-check-state)
                              `("state" ,level ,text nil ,place))))
      (let ((mailsync--breaks '(1.0)))
        (doctor-test-should (mailsync-doctor-check-state)
                            '("state" warning "pipe to Emacs broke 1" "report"
                              "command mailsync-log"))))
    (cl-letf (((symbol-function 'mailsync-module--status)
               (lambda () '(:dead "on purpose"))))
      (doctor-test-should (mailsync-doctor-check-state)
                          '("state" problem "engine ended: on purpose" "report"
                            "command mailsync-restart")))))

(ert-deftest doctor-test-demon ()
  "Whatever else makes Gnus look at everything is found."
  (let ((gnus-demon-handlers nil))
    (doctor-test-should (mailsync-doctor-check-demon)
                        '("polling" ok "nothing else" nil "")))
  (let ((gnus-demon-handlers '((gnus-demon-close-connections 30 t)
                               (gnus-demon-scan-mail 10 nil))))
    (doctor-test-should (mailsync-doctor-check-demon)
                        '("polling" warning "gnus-demon calls gnus-demon-scan-mail"
                          "gnus-demon-handlers" "option gnus-demon-handlers")))
  (let ((gnus-demon-handlers nil)
        (timer (run-at-time 1000 1000 'gnus-group-get-new-news)))
    (unwind-protect
        (doctor-test-should (mailsync-doctor-check-demon)
                            '("polling" warning "a timer calls gnus-group-get-new-news"
                              "init file" "command list-timers"))
      (cancel-timer timer))))

(ert-deftest doctor-test-discovery ()
  "What discovery has found, and is not configured, is said."
  (let ((accounts '(("w" :maildir "~/mail/") ("v" :maildir ("/a" "/b")))))
    (should-not (mailsync-doctor-against-discovery accounts nil))
    (should-not (mailsync-doctor-against-discovery
                 accounts '(("x" :maildir "~/mail") ("y" :maildir "/b"))))
    (doctor-test-should
     (mailsync-doctor-against-discovery accounts '(("x" :maildir ("/b" "/c"))))
     `("discovery" note "/c would be an account \"x\"" "add it"
       ,doctor-test-accounts))
    ;; What is below a maildir is of its account, by whatever name.
    (should-not (mailsync-doctor-against-discovery accounts '(("x" :maildir "/a/c"))))
    (should (mailsync-doctor-against-discovery accounts '(("x" :maildir "/ab"))))
    (should-not (mailsync-doctor-against-discovery
                 accounts '(("x" :maildir "/c")) '(("/c" . "/real/d") ("/a" . "/real")))))
  (doctor-test-with
    (let ((mailsync-accounts '(("w" :maildir "~/mail/")))
          (mailsync-doctor-proposal-function
           (lambda (then) (run-at-time 0 nil then '(("x" :maildir "/c"))))))
      (doctor-test-should (doctor-test-run)
                          '("discovery" note "/c would be" "add it" nil)))))

(defun doctor-test-mbsyncrc (root &rest channels)
  "Write a configuration of mbsync's into ROOT, with CHANNELS and their stores."
  (apply #'doctor-test-write (expand-file-name ".mbsyncrc" root)
         (mapcan (lambda (name)
                   (list (concat "MaildirStore " name "-near")
                         (format "Path ~/Mail/%s/" name)
                         (format "Inbox ~/Mail/%s/INBOX" name)
                         "SubFolders Verbatim" ""
                         (concat "Channel " name) (format "Far :%s-far:" name)
                         (format "Near :%s-near:" name) "Patterns *" ""))
                 channels)))

(ert-deftest doctor-test-against-what-there-is ()
  "The accounts are compared with what there is on this machine."
  (doctor-test-with
    (doctor-test-maildirs root "Mail/work/INBOX" "Mail/home/INBOX")
    (make-symbolic-link "Mail/work" (expand-file-name "link" root))
    (doctor-test-mbsyncrc root "work" "home" "away")
    (setq mailsync-accounts '(("mine" :maildir "~/link")))
    (let* ((before (doctor-test-snapshot root))
           (found (doctor-test-run)))
      (doctor-test-should found '("accounts" ok "configured: mine" nil "")
                          `("discovery" note "Mail/home would be an account \"home\""
                            "mailsync-setup" ,doctor-test-accounts))
      (should (= 1 (seq-count (lambda (finding) (equal (nth 1 finding) "discovery"))
                              found)))
      (should (equal (doctor-test-snapshot root) before)))
    (setq mailsync-accounts '(("all" :maildir "~/Mail")))
    (should-not (doctor-test-found (doctor-test-run) "discovery" 'note ""))))

(ert-deftest doctor-test-what-is-discovered ()
  "Without accounts, what is discovered is examined, and why some of it is not used."
  (doctor-test-with
    (doctor-test-maildirs root "Mail/work/INBOX" "Mail/work/a")
    (doctor-test-mbsyncrc root "work" "away")
    (let ((found (doctor-test-run)))
      (doctor-test-should
       found
       '("accounts" ok "is nil: \"work\" for ~/Mail/work" nil "")
       '("layout" ok "2 folders in .*/Mail/work" nil "")
       '("discovery" warning "\"away\" was discovered and is not used: .*Mail/away"
         "mend that, or" "command mailsync-setup"))
      (should (equal (mapcar #'car mailsync-doctor--accounts) '("work"))))
    (let ((mailsync-doctor-proposal-function
           (lambda (then) (run-at-time 0 nil then 'unknown))))
      (doctor-test-should (doctor-test-run)
                          '("accounts" ok "is nil: \"mail\" for ~/Maildir" nil "")))
    (cl-letf (((symbol-function 'mailsync-discover--read) #'ignore))
      (doctor-test-should (doctor-test-run)
                          '("discovery" warning "nobody could look" "mailsync-log"
                            "command mailsync-log")))))

(ert-deftest doctor-test-a-check-that-fails-stops-no-other ()
  "It is a finding, to be reported."
  (doctor-test-with
    (cl-letf (((symbol-function 'mailsync-doctor-check-hooks)
               (lambda () (error "On purpose"))))
      (doctor-test-should (doctor-test-run)
                          '("doctor" problem "a check failed: On purpose" "report" "")
                          '("sleep and network" ok "" nil "")))))

;;;; Servers and passwords

(defmacro doctor-test-asked (answer &rest body)
  "Run BODY; each question is answered with ANSWER; return the questions."
  (declare (indent 1))
  `(let ((questions nil))
     (cl-letf (((symbol-function 'y-or-n-p)
                (lambda (question) (push question questions) ,answer)))
       ,@body)
     (nreverse questions)))

;; Security: S64.
(ert-deftest doctor-test-servers-are-tried-when-the-user-says-so ()
  "Nothing is tried unasked; each step is asked for; passwords are not shown."
  (doctor-test-with
    (let* ((server (make-network-process :name "imap" :server t :host "127.0.0.1"
                                         :service t :family 'ipv4 :noquery t))
           (port (process-contact server :service))
           (auth (expand-file-name "authinfo" root))
           (auth-sources (list auth))
           (ran (expand-file-name "ran" root)))
      (doctor-test-write auth (format "machine 127.0.0.1 port %d login me password s3cret"
                                      port))
      (setq mailsync-accounts
            `(("good" :remote (imap :host "127.0.0.1" :port ,port :user "me"))
              ("bad" :remote (imap :host "127.0.0.1" :port 1 :user "you"))
              ("command" :remote (imap :host "127.0.0.1" :port ,port :user "it"
                                       :secret-command ("sh" "-c" "echo s3cret")))
              ("fails" :remote (imap :host "127.0.0.1" :port ,port :user "it"
                                     :secret-command ("sh" "-c" "echo s3cret; exit 3")))
              ("complains" :remote (imap :host "127.0.0.1" :port ,port :user "one"
                                         :secret-command ("sh" "-c" "echo x >&2")))
              ("watcher" :remote (watcher "sh" "-c" "echo away >&2; exit 1"))
              ("runs" :remote (watcher "sleep" "1000"))
              ("tunnel" :remote (imap :tunnel ("sh" "-c" ,(format "touch %s" ran))))))
      (unwind-protect
          (progn
            (doctor-test-should
             (doctor-test-run)
             `("server" note ,(format "127.0.0.1, port %d was not tried" port)
               "press t" "command mailsync-doctor-try"))
            ;; Whoever says no is asked, and nothing happens.
            (let ((before (copy-sequence mailsync-doctor--findings)))
              (should (equal (length (doctor-test-asked nil
                                       (mailsync-doctor-try)))
                             13))
              (should (equal mailsync-doctor--findings before))
              (should-not mailsync-doctor--waiting)
              (should-not (file-exists-p ran)))
            (let ((mailsync-doctor--process-patience 2))
              (should (seq-find (lambda (question)
                                  (string-match-p "password of me at 127" question))
                                (doctor-test-asked t (mailsync-doctor-try))))
              (doctor-test-wait))
            (doctor-test-should
             mailsync-doctor--findings
             `("server" ok ,(format "port %d answers" port) nil "")
             `("server" problem "port 1 does not answer" ":port" ,doctor-test-accounts)
             '("password" ok "a password of me" nil "")
             '("password" problem "no password of you: auth-source" "auth-sources"
               "option auth-sources")
             '("password" ok "a password of it" nil "")
             '("password" problem "no password of it: sh: exited" "secret-command" nil)
             '("password" problem "no password of one: sh: finished" "secret-command" nil)
             `("server" problem "ended: away" "in a shell" ,doctor-test-accounts)
             '("server" ok "sleep 1000 runs" nil ""))
            (should (file-exists-p ran))
            (should-not (seq-find (lambda (finding) (equal (nth 1 finding) "doctor"))
                                  mailsync-doctor--findings))
            (should-not (string-match-p "s3cret" (mailsync-doctor--report)))
            (should-not (seq-find (lambda (finding)
                                    (string-match-p "was not tried" (nth 3 finding)))
                                  mailsync-doctor--findings))
            (should-not (seq-find (lambda (process)
                                    (string-prefix-p "mailsync-doctor"
                                                     (process-name process)))
                                  (process-list))))
        (delete-process server)))))

(ert-deftest doctor-test-an-older-module ()
  "A module that cannot be asked, of the same version, is said so."
  (doctor-test-with
    (cl-letf (((symbol-function 'mailsync-module--examine) nil))
      (doctor-test-should (doctor-test-run)
                          '("module" problem "older than the Lisp files"
                            "restart Emacs" "command mailsync-module-compile")))))

(ert-deftest doctor-test-manual ()
  "Each word of a finding is in the manual's table, and nothing else is."
  (let* ((root (locate-dominating-file
                (or (locate-library "mailsync-doctor-test") default-directory)
                "README.org"))
         (words (lambda (regexp &rest files)
                  (let (found)
                    (dolist (file files (seq-uniq (sort found #'string<)))
                      (with-temp-buffer
                        (insert-file-contents (expand-file-name file root))
                        (while (re-search-forward regexp nil t)
                          (push (match-string 1) found)))))))
         (table (with-temp-buffer
                  (insert-file-contents (expand-file-name "README.org" root))
                  (search-forward "| Word ")
                  (let ((end (save-excursion (re-search-forward "^$") (point)))
                        found)
                    (while (re-search-forward "^| \\(=[^|]+=\\)" end t)
                      (setq found (append found (split-string (match-string 1)
                                                              "=\\(, \\)?" t))))
                    (sort found #'string<)))))
    (should (equal table
                   (sort (seq-uniq
                          (append
                           (funcall words "\\(?:say\\|ok\\)(\\s-*\"\\([^\"]+\\)\""
                                    "src/errand/examine/findings.rs")
                           (funcall words "check = \"\\([^\"]+\\)\""
                                    "src/errand/examine/findings.rs")
                           (funcall words "\"\\([^\"]+\\)\" '\\(?:ok\\|note\\|warning\\|problem\\)\\_>"
                                    "lisp/mailsync-doctor.el"
                                    "lisp/mailsync-doctor-checks.el")
                           ;; Whose levels are found out.
                           '("module" "state")))
                         #'string<)))))

;;;; The buffer

(ert-deftest doctor-test-leads-to-the-init-file ()
  "What is wrong with an account is mended where that is written."
  (let* ((file (make-temp-file "init" nil ".el" "(setq mailsync-accounts
      '((\"v\" :maildir \"~/a\")
        (\"w\" :maildir \"~/b\")))\n"))
         (user-init-file file) (custom-file nil)
         (mailsync-doctor--findings
          `(("account \"w\"" "directory" problem "none" "make it" ,doctor-test-accounts)))
         (mailsync-doctor--waiting nil))
    (unwind-protect
        (save-window-excursion
          (with-current-buffer (get-buffer-create mailsync-doctor--buffer)
            (mailsync-doctor-mode)
            (mailsync-doctor--show)
            (goto-char (point-min))
            (mailsync-doctor-next)
            (mailsync-doctor-mend))
          (set-buffer (get-file-buffer file))
          (should (looking-at-p (regexp-quote "(\"w\" :maildir")))
          (kill-buffer))
      (kill-buffer mailsync-doctor--buffer)
      (delete-file file))))

(ert-deftest doctor-test-buffer ()
  "Problems come first; keys lead where the finding at point is mended."
  (let ((mailsync-doctor--findings
         `(("mailsync" "module" ok "fine" "" "")
           ("account \"w\"" "layout" note "two" "set it" ,doctor-test-accounts)
           ("account \"w\"" "directory" problem ,(expand-file-name "~/x") "make it"
            "command doctor-test-command")
           ("this machine" "limits" warning "few" "raise" "")))
        (mailsync-doctor--waiting nil)
        (went nil))
    (save-window-excursion
      (unwind-protect
          (cl-letf (((symbol-function 'doctor-test-command)
                     (lambda () (interactive) (push 'command went)))
                    ((symbol-function 'customize-variable)
                     (lambda (option) (push option went)))
                    ((symbol-function 'message)
                     (lambda (format &rest args)
                       (push (apply #'format-message format args) went))))
            (pop-to-buffer (get-buffer-create mailsync-doctor--buffer))
            (mailsync-doctor-mode)
            (mailsync-doctor--show)
            (let ((text (buffer-string)))
              (should (string-prefix-p
                       "1 problem, 1 warning, 1 note, 1 ok.  That is all.\n" text))
              (should (string-match-p
                       "^problem  account \"w\", directory: ~/x\n +Do: make it\n\
warning  this machine, limits: few\n +Do: raise\n\
note     account \"w\", layout: two\n +Do: set it\n\
ok       mailsync, module: fine\n\\'" text)))
            (goto-char (point-min))
            (should-error (mailsync-doctor-mend) :type 'user-error)
            (dolist (expected `(command "raise" mailsync-accounts
                                        "Nothing is to be done"))
              (mailsync-doctor-next)
              (mailsync-doctor-mend)
              (should (equal (car went) expected)))
            (mailsync-doctor-previous)
            (should (looking-at "note"))
            ;; Point stays at its finding when another comes.
            (forward-line)
            (mailsync-doctor--add '(("x" "x" problem "x" "x" "")))
            (goto-char (line-beginning-position))
            (mailsync-doctor--show)
            (should (equal (nth 3 (get-text-property (point) 'mailsync-finding))
                           "two"))
            (mailsync-doctor-copy)
            (let ((copied (current-kill 0)))
              (should (string-match-p "\\`mailsync-doctor, mailsync [0-9.]+" copied))
              (should (string-match-p "^problem  x: x$" copied))))
        (kill-buffer mailsync-doctor--buffer)))))

(ert-deftest doctor-test-home-is-short ()
  "The home directory is `~' wherever it stands, and nowhere else."
  (let ((process-environment (cons "HOME=/home/me" process-environment)))
    (pcase-dolist (`(,text ,expected)
                   '(("in /home/me/x and /home/me" "in ~/x and ~")
                     ("/home/me2 /home/me.x" "/home/me2 /home/me.x")
                     ("/home/me: x" "~: x")))
      (should (equal (mailsync-doctor--short text) expected)))))

(ert-deftest doctor-test-again-and-away ()
  "Examining again, and killing the buffer meanwhile, leave nothing behind."
  (doctor-test-with
    (doctor-test-maildirs root "mail/a")
    (setq mailsync-accounts `(("w" :maildir ,(expand-file-name "mail" root))))
    (save-window-excursion
      (let ((inhibit-message t))
        (mailsync-doctor)
        (mailsync-doctor)
        (revert-buffer)
        (should mailsync--running)
        (kill-buffer mailsync-doctor--buffer)))
    (should-not mailsync--running)
    (should-not mailsync-doctor--waiting)
    (doctor-test-should (doctor-test-run) '("layout" ok "1 folder" nil ""))))

(provide 'mailsync-doctor-test)
;;; mailsync-doctor-test.el ends here
