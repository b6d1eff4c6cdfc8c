;;; mailsync-security-test.el --- The threats of the manual, against the real thing  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The section "Security" of README.org gives each threat a tag.  A test names the tags of those that it
;; shows, in its docstring; most are shown elsewhere, beside what else there is to say of the matter.
;; test/lint/threats.sh compares.

;;; Code:

(require 'mailsync-sync-test-helper)
(require 'mailsync-imap-test-helper)
(require 'mailsync-doctor)
(require 'mailsync-report)
(require 'mailsync-setup)

;;;; Names that somebody else has chosen

(defconst security-test-names
  (list "-V" "--config=pwned" "$(touch pwned)" "`touch pwned`" ";touch pwned" "|touch pwned"
        "'; touch pwned #" "%s%n%d%x" "#.(write-region \"\" nil \"pwned\")" "(error \"pwned\")"
        "\\[kill-emacs]\\{global-map}\\<global-map>" "`quoted' <b>bold</b> & \"so\""
        "\e]0;PWNED\a" "\e[31mred" "\u009b31mred" "cod\u202egnp.exe" "\u2067so\u2069"
        "new\nline: watching" "cr\rab" "tab\tbed" "end\u2028less" (make-string 200 ?x))
  "Names of folders that do harm where something takes them for more than names.")

(defconst security-test-harm "[\0-\10\13-\37\177-\237\u200e\u200f\u2028-\u202e\u2066-\u2069]"
  "What must not be in what a user is shown, beside line breaks and tabs.")

(defun security-test-nothing-ran (&rest directories)
  "No command that is in a name was run with its files below DIRECTORIES."
  (dolist (directory (cons default-directory directories))
    (should-not (file-exists-p (expand-file-name "pwned" directory)))
    (unless (equal directory default-directory)
      (should-not (directory-files-recursively directory "\\`pwned\\'" t)))))

(defun security-test-arguments (root)
  "What the program below ROOT was called with, each argument in bytes."
  (let ((file (expand-file-name "arguments" root)))
    (and (file-exists-p file)
         (with-temp-buffer
           (set-buffer-multibyte nil)
           (insert-file-contents-literally file)
           (split-string (buffer-string) "\0")))))

(defconst security-test-recording "printf '%s\\0' \"$@\" >>arguments\n"
  "A script that notes its arguments.")

(defun security-test-anew (accounts)
  "Stop, start with ACCOUNTS, and wait until they are watched."
  (mailsync-mode -1)
  (test-wait (lambda () (zerop (mailsync-module--threads))))
  (setq mailsync-accounts accounts)
  (mailsync-mode 1)
  (test-watching "w"))

(defmacro security-test-with (names script syncer &rest body)
  "Run BODY as in `sync-test-with', with SCRIPT and SYNCER, in a nested layout.
There is a folder of each of NAMES."
  (declare (indent 3))
  `(sync-test-with (concat security-test-recording ,script) nil
     (let ((mailsync-log-level 'debug)
           (mailsync-base-delay 0.5))
       (dolist (name ,names)
         (test-maildir (expand-file-name name mail)))
       (security-test-anew `(("w" :maildir ,mail :layout nested :syncer ,,syncer)))
       ,@body)))

(defun security-test-deliver (mail names)
  "Deliver a message into each of the folders NAMES below MAIL; wait until that is told."
  (setq test-changes nil)
  (dolist (name names)
    (test-deliver (expand-file-name name mail)))
  (test-wait (lambda ()
               (seq-every-p (lambda (name) (test-changed name 'new)) names))
             30))

(defun security-test-shown ()
  "All that a user is shown, an alist from where to the text."
  (save-window-excursion
    (let ((inhibit-message t))
      (mailsync-folders "w")
      (mailsync-history)
      (mailsync-doctor))
    (test-wait (lambda () (null mailsync-doctor--waiting)) 60)
    (let ((text (lambda (buffer) (with-current-buffer buffer (buffer-string)))))
      (test-wait (lambda () (string-search "PWNED" (funcall text mailsync-folders--buffer))))
      `((log . ,(test-log))
        (said . ,(string-join sync-test-said "\n"))
        (status . ,(mailsync-status--text))
        (tooltip . ,(funcall (get-text-property 0 'help-echo (mailsync-mode-line--state))))
        (mode-line . ,mailsync-mode-line--string)
        (folders . ,(funcall text mailsync-folders--buffer))
        (history . ,(funcall text mailsync-folders--history))
        (story . ,(mapconcat #'mailsync-history-tell (mailsync-history-stories) "\n"))
        (output . ,(funcall text (mailsync-sync--output-name "w")))
        (report . ,(mailsync-report-text))
        (names . ,(mailsync-report-text t))
        (doctor . ,(mailsync-doctor--report))))))

(ert-deftest security-test-names-are-shown-and-do-nothing ()
  "S22, S23, S24: in each place where a user sees names of folders, they are just that.
A syncer gets them as they are, by no shell; what it prints is shown no better."
  (security-test-with security-test-names "echo \"of $*\"\n[ ! -e fails ] || exit 1"
      `(mailsync-command ,program "--" "%f")
    (security-test-deliver mail security-test-names)
    (test-wait (lambda ()
                 (let ((arguments (security-test-arguments root)))
                   (seq-every-p (lambda (name) (member (encode-coding-string name 'utf-8) arguments))
                                security-test-names)))
               30)
    ;; And one that fails, whose last words are in the echo area.
    (write-region "" nil (expand-file-name "fails" root) nil 'silent)
    (security-test-deliver mail security-test-names)
    (test-wait (lambda () (eq (sync-test-phase) 'failing)) 30)
    (let ((shown (security-test-shown)))
      (pcase-dolist (`(,where . ,text) shown)
        (ert-info ((format "%s: %S" where text))
          (should-not (string-match-p security-test-harm text))))
      ;; They are there; what was not shown would do no harm either.
      (dolist (where '(log status folders history names output))
        (ert-info ((format "%s" where))
          (should (string-search "]0;PWNED" (alist-get where shown)))))
      ;; None looks like a line of ours.
      (dolist (where '(status folders history story doctor))
        (should-not (string-match-p "^line: watching" (alist-get where shown))))
      (dolist (line (split-string (alist-get 'log shown) "\n" t))
        (should (string-match-p "\\`\\(?:[0-9-]+ [0-9:]+ [a-z]+ +\\|    \\)" line)))
      ;; Nor does Emacs look for commands or keymaps in them.
      (let ((helps nil))
        (dolist (buffer (list mailsync-folders--buffer mailsync-folders--history))
          (with-current-buffer buffer
            (dotimes (line (count-lines (point-min) (point-max)))
              (goto-char (point-min))
              (forward-line line)
              (push (mailsync-list--help nil (current-buffer) (point)) helps))))
        (let ((text (alist-get 'status shown)))
          (dotimes (position (length text))
            (when-let ((help (get-text-property position 'help-echo text)))
              (push help helps))))
        (should (seq-some (lambda (help) (string-search "kill-emacs" help)) helps))
        (dolist (help helps)
          (should (get-text-property 0 'help-echo-inhibit-substitution help))))
      (should (get-text-property 0 'help-echo-inhibit-substitution (alist-get 'tooltip shown))))
    (security-test-nothing-ran root)))

(ert-deftest security-test-names-are-no-options ()
  "S23: of a syncer's command line, names are arguments of what asks for them."
  (pcase-dolist (`(,config ,syncer ,options)
                 '(("MaildirStore near\nPath mail/\nInbox mail/INBOX\nSubFolders Verbatim\n
IMAPStore far\nHost localhost\n
Channel c\nNear :near:\nFar :far:\nPatterns *\nCreate Both\n"
                    (mailsync-mbsync "c") ("-c"))
                   ("[general]\naccounts = c\n[Account c]\nlocalrepository = near\nremoterepository = far
[Repository near]\ntype = Maildir\nlocalfolders = mail\nsep = /\n
[Repository far]\ntype = IMAP\nremotehost = localhost\n"
                    (mailsync-offlineimap "c") ("-c" "-a" "-f" "-u" "-o" "-q" "-k"))))
    (ert-info ((format "%S" syncer))
      (security-test-with
          ;; mbsync takes a line break for a comma, and one folder that cannot be named is all of them.
          (seq-remove (lambda (name) (string-search "\n" name)) security-test-names)
          ""
          (let ((file (expand-file-name "config" root)))
            (write-region (replace-regexp-in-string "\\_<mail\\(/\\|\n\\)" (concat mail "\\1") config t)
                          nil file nil 'silent)
            (append syncer (list :config file :executable program)))
        (security-test-deliver mail (remove "new\nline: watching" security-test-names))
        (let (called)
          (test-wait (lambda ()
                       (setq called (security-test-arguments root))
                       (seq-some (lambda (word) (string-search "$(touch pwned)" word)) called))
                     30)
          (while called
            (let ((word (pop called)))
              (when (string-prefix-p "-" word)
                (should (member word options))
                (when (member word '("-f" "-c" "-a"))
                  ;; That is the option's.
                  (pop called))))))
        (security-test-nothing-ran root)))))

(ert-deftest security-test-names-and-mbsync ()
  "S23: mbsync itself takes odd names for what they are."
  (skip-unless (executable-find "mbsync"))
  (let ((names '("-V" "$(touch pwned)" "`touch pwned`;x" "%s%n" "\e]0;x\a")))
    (sync-test-with "" nil
      (let ((config (expand-file-name "config" root))
            (far (expand-file-name "far" root)))
        (test-maildir (expand-file-name "INBOX" far))
        (dolist (name (cons "INBOX" names))
          (test-maildir (expand-file-name name mail)))
        (write-region (format "MaildirStore near\nPath %s/\nInbox %s/INBOX\nSubFolders Verbatim\n
MaildirStore far\nPath %s/\nInbox %s/INBOX\nSubFolders Verbatim\n
Channel c\nNear :near:\nFar :far:\nPatterns *\nCreate Both\nSyncState *\n" mail mail far far)
                      nil config nil 'silent)
        (security-test-anew
         `(("w" :maildir ,mail :layout nested :syncer (mailsync-mbsync "c" :config ,config))))
        (dolist (name names)
          (test-deliver (expand-file-name name mail)))
        (test-wait (lambda ()
                     (seq-every-p (lambda (name)
                                    (let ((new (expand-file-name (concat name "/new") far)))
                                      (and (file-directory-p new)
                                           (directory-files new nil "\\`[^.]"))))
                                  names))
                   30)
        (security-test-nothing-ran root)))))

(ert-deftest security-test-names-in-a-form ()
  "S24: what `mailsync-setup' writes down is read as it was, and looks as it is read."
  (dolist (name security-test-names)
    (let ((text (mailsync-setup--print (list name :maildir (concat "/m/" name)))))
      (should-not (string-match-p security-test-harm text))
      (should-not (string-search "\n" text))
      ;; This is what Emacs does with an init file.
      (let ((read-circle nil))
        (should (equal (read text) (list name :maildir (concat "/m/" name)))))))
  (with-temp-buffer
    (mailsync-setup--comment (string-join security-test-names ") "))
    (should-not (string-match-p security-test-harm (buffer-string)))
    (goto-char (point-min))
    (while (not (eobp))
      (should (looking-at ";; "))
      (forward-line))
    (goto-char (point-min))
    (should-error (read (current-buffer)) :type 'end-of-file)))

(defun security-test-terminal (form done)
  "The bytes that an Emacs sends to its terminal until the file DONE is there.
It has evaluated FORM before."
  (let* ((home (make-temp-file "mailsync-terminal" t))
         (init (expand-file-name "init.el" home))
         (sent nil)
         (process-environment
          (append (list "TERM=xterm" "LC_ALL=C.UTF-8" (concat "HOME=" home)) process-environment))
         (process nil))
    (with-temp-file init
      (set-buffer-file-coding-system 'utf-8)
      (insert ";;; -*- lexical-binding: t -*-\n(require 'subr-x)\n")
      (let ((print-escape-newlines t) (print-escape-control-characters t))
        (print form (current-buffer))))
    (setq process
          (make-process
           :name "terminal" :connection-type 'pty :noquery t :buffer nil :coding 'binary
           :filter (lambda (_ text) (push text sent))
           :command (list "sh" "-c" "stty rows 60 cols 160 raw -echo; exec \"$@\"" "sh"
                          (or (getenv "EMACS")
                              (expand-file-name invocation-name invocation-directory))
                          "-nw" "-Q" "-L" mailsync-module--lisp-directory "-l" init)))
    (unwind-protect
        (progn
          (test-wait (lambda () (file-exists-p done)) 60)
          (apply #'concat (reverse sent)))
      (delete-process process)
      (delete-directory home t))))

(ert-deftest security-test-a-terminal-gets-no-commands ()
  "S21, S22, S25: nobody's name or subject is a command to the user's terminal."
  (let* ((root (file-truename (make-temp-file "mailsync-terminal" t)))
         (done (expand-file-name "done" root))
         (names (seq-remove (lambda (name) (string-search "\n" name)) security-test-names)))
    (unwind-protect
        (progn
          (dolist (name names)
            (test-maildir (expand-file-name name root)))
          (let ((sent
                 (security-test-terminal
                  `(progn
                     (require 'mailsync)
                     (require 'mailsync-notify)
                     (setq mailsync-accounts '(("w" :maildir ,root :layout nested))
                           mailsync-coalesce-delay 0.05
                           mailsync-log-level 'debug
                           mailsync-notify-delay 0)
                     (mailsync-mode 1)
                     (let ((steps
                            (list
                             (lambda () (eq 'watching (cadr (assoc "w" mailsync--states))))
                             (lambda ()
                               (dolist (name ',names t)
                                 (write-region "" nil (expand-file-name (concat name "/new/1.x") ,root)
                                               nil 'silent)))
                             (lambda () (nthcdr ,(1- (length names)) (mailsync-history-folders)))
                             (lambda () (mailsync-status) (delete-other-windows) t)
                             (lambda () (mailsync-folders "w") (delete-other-windows) t)
                             (lambda ()
                               (with-current-buffer mailsync-folders--buffer
                                 (goto-char (point-min))
                                 (search-forward "PWNED" nil t)))
                             (lambda () (mailsync-log) (other-window 1) (delete-other-windows) t)
                             (lambda () (mailsync--say "%s" (string-join ',names " ")) t)
                             (lambda ()
                               (message nil)
                               (mailsync-notify-echo
                                "w" `((:groups (("g\e]0;PWNED\a" 0 1))
                                       :messages ((:group "g\e]0;PWNED\a" :number 1
                                                   :sender "A\e[31m\u202eb" :subject ,(nth 12 ',names))))))
                               t)
                             (lambda () (string-prefix-p "Mail: g" (or (current-message) "")))
                             (lambda () (write-region "" nil ,done nil 'silent) t))))
                       (run-with-timer 0.1 0.1
                                       (lambda ()
                                         (when (and steps (funcall (car steps)))
                                           (pop steps)
                                           (redisplay t))))))
                  done)))
            ;; They were to be seen.
            (should (string-search "PWNED" sent))
            (should (string-search "31mred" sent))
            (dolist (harm '("\e]0;PWNED" "\e[31mred" "\e[31m\342\200\256" "\302\23331m" "\342\200\256"
                            "\342\201\247"))
              (should-not (string-search harm sent)))))
      (delete-directory root t))))

;;;; What is asked of messages

(ert-deftest security-test-no-message-is-opened ()
  "S28: what is in a message makes no difference: it is not opened.
Whoever opens this one waits for ever."
  (test-with-mailsync '("" ".a") nil
    (test-watching "w")
    (dolist (directory (list root (expand-file-name ".a" root)))
      (let ((tmp (expand-file-name "tmp/1.x" directory)))
        (should (zerop (call-process "mkfifo" nil nil nil tmp)))
        (rename-file tmp (expand-file-name "new/1.x" directory))))
    (test-wait (lambda () (and (test-changed "INBOX" 'new) (test-changed "a" 'new))))
    (mailsync-status--text)
    (mailsync-check)
    (setq test-changes nil)
    (test-deliver root)
    (test-wait (lambda () (test-changed "INBOX" 'new)))))

;;;; A whole session, with a secret

(defun security-test-descendants (pid)
  "PID and the processes that it, or one of its descendants, has started."
  (let ((all (mapcar (lambda (process)
                       (cons process (alist-get 'ppid (process-attributes process))))
                     (list-system-processes)))
        (found (list pid)) (new t))
    (while new
      (setq new (seq-filter (lambda (entry) (and (memq (cdr entry) found)
                                                 (not (memq (car entry) found))))
                            all)
            found (append (mapcar #'car new) found)))
    found))

(defun security-test-bytes (file)
  "What is in FILE, in bytes; \"\" if it cannot be read."
  (with-temp-buffer
    (set-buffer-multibyte nil)
    (ignore-errors (insert-file-contents-literally file))
    (buffer-string)))

(defun security-test-script (directory name text)
  "Make a program NAME in DIRECTORY that runs TEXT by sh; return its whole name."
  (let ((file (expand-file-name name directory)))
    (write-region (concat "#!/bin/sh\ncd " (shell-quote-argument directory) "\n" text "\n")
                  nil file nil 'silent)
    (set-file-modes file #o755)
    file))

(defun security-test-session (home port)
  "The form for an Emacs that uses all that there is, with files in HOME.
Servers are at PORT."
  (let ((file (lambda (name) (expand-file-name name home)))
        (imap (list 'imap :host "127.0.0.1" :port port :user "me" :tls 'none))
        (waits "until [ -e go ]; do sleep 0.05; done"))
    `(progn
       (require 'mailsync)
       (require 'mailsync-doctor)
       (require 'mailsync-report)
       (require 'auth-source)
       (setq auth-sources '(,(funcall file ".authinfo"))
             custom-file ,(funcall file "custom.el")
             ;; Otherwise Emacs would not write that.
             user-init-file ,(funcall file "init.el")
             mailsync-log-level 'debug
             mailsync-listen t
             mailsync-accounts
             '(("w" :maildir ,(test-maildir (funcall file "mail"))
                :syncer (mailsync-command
                         ,(security-test-script home "syncer" (concat "touch syncing\n" waits)) "%f")
                :remote (,imap
                         (,@imap :secret-command
                                 (,(security-test-script
                                    home "password" (concat "touch asked\n" waits "\ncat secret"))))
                         (watcher ,(security-test-script home "watcher" "echo\nexec cat"))))))
       (let ((wait (lambda (condition)
                     (while (not (funcall condition))
                       (accept-process-output nil 0.05))))
             (ready (lambda (count)
                      (>= (seq-count (lambda (known) (eq (plist-get (cdr known) :state) 'connected))
                                     mailsync-remote--states)
                          count))))
         (mailsync-mode 1)
         (mailsync-log)
         (funcall wait (lambda ()
                         (and (file-exists-p ,(funcall file "syncing"))
                              (file-exists-p ,(funcall file "asked"))
                              (funcall ready 2))))
         (write-region "" nil ,(funcall file "ready") nil 'silent)
         (funcall wait (lambda () (and (file-exists-p ,(funcall file "go")) (funcall ready 3))))
         (mailsync-doctor)
         (funcall wait (lambda () (null mailsync-doctor--waiting)))
         (customize-save-variable 'mailsync-accounts mailsync-accounts)
         (mailsync-log-copy t)
         (with-temp-file ,(funcall file "shown")
           (prin1 (list (mailsync-status--text) (mailsync-report-text) (mailsync-report-text t)
                        (mailsync-doctor--report) (mailsync-module--status) kill-ring
                        mailsync-remote--states (mailsync-mode-line--tooltip)
                        (mapcar (lambda (buffer)
                                  (with-current-buffer buffer (buffer-string)))
                                (buffer-list)))
                  (current-buffer)))
         (mailsync-mode -1)
         (kill-emacs 0)))))

(ert-deftest security-test-a-session-with-a-secret ()
  "S11, S14, S16, S51, S52: what it makes is its user's alone, and a password is nowhere.
The whole session is under a umask that keeps nothing from anybody, and
without a directory for temporary files."
  (skip-unless (file-directory-p "/proc/self/fd"))
  (let* ((home (file-truename (make-temp-file "mailsync-session" t)))
         (runtime (expand-file-name "run" home))
         (imap-test-password "canary-0f-this-session")
         (secrets (list imap-test-password
                        (base64-encode-string (concat "\0me\0" imap-test-password) t)))
         (server (imap-test-server))
         (port (process-contact server :service))
         (file (lambda (name) (expand-file-name name home)))
         (process nil))
    (make-directory runtime)
    (set-file-modes runtime #o700)
    (write-region (format "machine 127.0.0.1 port %d login me password \"%s\"\n" port imap-test-password)
                  nil (funcall file ".authinfo") nil 'silent)
    (write-region (concat imap-test-password "\n") nil (funcall file "secret") nil 'silent)
    (with-temp-file (funcall file "session.el")
      (prin1 (security-test-session home port) (current-buffer)))
    (unwind-protect
        (let ((process-environment
               (append (list (concat "HOME=" home) (concat "XDG_RUNTIME_DIR=" runtime)
                             (concat "TMPDIR=" (funcall file "none")))
                       process-environment)))
          (setq process
                (make-process
                 :name "session" :noquery t :buffer (generate-new-buffer " *session*")
                 :command (list "sh" "-c" "umask 000; exec \"$@\"" "sh"
                                (or (getenv "EMACS")
                                    (expand-file-name invocation-name invocation-directory))
                                "-Q" "--batch" "-L" mailsync-module--lisp-directory
                                "-l" (funcall file "session.el"))))
          (test-wait (lambda ()
                       (unless (process-live-p process)
                         (error "It ended: %s" (with-current-buffer (process-buffer process)
                                                 (buffer-string))))
                       (file-exists-p (funcall file "ready")))
                     60)
          ;; Its children.
          (let ((all (security-test-descendants (process-id process))))
            (should (> (length all) 3))
            (dolist (pid all)
              (dolist (name '("cmdline" "environ"))
                (let ((bytes (security-test-bytes (format "/proc/%d/%s" pid name))))
                  (dolist (secret secrets)
                    (should-not (string-search secret bytes)))))))
          ;; What it has made while it runs.
          (should (file-exists-p (expand-file-name "mailsync/listen" runtime)))
          (let ((made (directory-files-recursively runtime "" t)))
            (should (> (length made) 3))
            (dolist (name made)
              (ert-info (name)
                (let ((attributes (file-attributes name)))
                  (should (eql (file-attribute-user-id attributes) (user-uid)))
                  (should (zerop (logand (file-modes name 'nofollow) #o077)))))))
          (write-region "" nil (funcall file "go") nil 'silent)
          (test-wait (lambda () (not (process-live-p process))) 60)
          (let ((said (with-current-buffer (process-buffer process) (buffer-string))))
            (ert-info (said)
              (should (equal 0 (process-exit-status process)))
              ;; Both stores have logged in with it.
              (should (>= (seq-count (lambda (login) (string-suffix-p imap-test-password login))
                                     imap-test-logins)
                          2))
              (should (> (length (security-test-bytes (funcall file "shown"))) 1000))
              (should (> (length (security-test-bytes (funcall file "custom.el"))) 100))
              (dolist (name (directory-files-recursively home ""))
                (unless (member (file-name-nondirectory name) '(".authinfo" "secret"))
                  (ert-info (name)
                    (let ((bytes (security-test-bytes name)))
                      (dolist (secret secrets)
                        (should-not (string-search secret bytes)))))))
              (dolist (secret secrets)
                (should-not (string-search secret said)))
              (should-not (file-exists-p (funcall file "none"))))))
      (when process
        (delete-process process)
        (kill-buffer (process-buffer process)))
      (delete-process server)
      (delete-directory home t))))

;;;; Numbers of processes

(ert-deftest security-test-a-number-in-a-lock-ends-nobody ()
  "S15: whatever number stands in a lock, the process that has it now is left alone."
  (let* ((runtime (file-truename (make-temp-file "mailsync-run" t)))
         (process-environment (cons (concat "XDG_RUNTIME_DIR=" runtime) process-environment))
         (victim (make-process :name "victim" :command '("sleep" "1000") :noquery t))
         (locks nil))
    (unwind-protect
        (cl-letf (((default-value 'process-environment) process-environment))
          (sync-test-with "exit 0" `(mailsync-command ,program "%f")
            (dotimes (_ 2)
              (setq sync-test-events nil)
              (test-deliver mail)
              (should (eq 'ok (plist-get (sync-test-wait 1) :status)))
              (mailsync-mode -1)
              (test-wait (lambda () (zerop (mailsync-module--threads))))
              (setq locks (directory-files (expand-file-name "mailsync" runtime) t "\\`[^.]"))
              (should (> (length locks) 1))
              (dolist (lock locks)
                (write-region (format "%d\n" (process-id victim)) nil lock nil 'silent))
              (mailsync-mode 1)
              (test-watching "w")))
          (should (process-live-p victim)))
      (delete-process victim)
      (delete-directory runtime t))))

(provide 'mailsync-security-test)
;;; mailsync-security-test.el ends here
